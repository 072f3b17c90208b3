"""Key use locations that are real programs: a printer, a web server and an IKE daemon take what our agent obtains from our own server, or
everything is as it was."""

from ours import Controller
from rig import check, contains, equal, free_port, is_of_key, names, serial, served, shown

NAMES = ["DNS:localhost", "IP Address:127.0.0.1"]


def fleet(bench, configuration, key_use, env=None):
    """A controller that serves SCEP itself, and an agent with this configuration."""
    controller = Controller(bench)
    agent = controller.agent(configuration=configuration, env=env)
    flags = ["--common-name", "{ip}", "--san", "ip:{ip}", "--san", "dns:localhost", "--key-name", "machine", "--key-use", key_use]
    controller.settings("--server", "built-in", "--challenge", "built-in", *flags)
    return controller, agent


def in_use(controller, number, status):
    """The certificate that somebody shows is the one that was obtained."""
    equal(status["record"]["certificate"]["serial"], number, "serial in the status")
    check(number in controller.issued(), "not issued by our server: %s" % number)


def self_signed(bench, certificate, key):
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    bench.run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject, "-keyout", key, "-out", certificate)


def until_served(bench, port, ca, number):
    """nginx reloads after it has said so."""
    return bench.until("port %d serves %s" % (port, number), lambda: (served(bench, port, ca) or [None])[0] == number, seconds=10)


# A printer: CUPS's own, which reads its key with every connection.


def printer_takes_its_certificate(bench):
    keys, port = bench.path("keys"), free_port()
    keys.mkdir()
    printer = ["ippeveprinter", "-K", keys, "-d", bench.path("spool"), "-n", "localhost", "-p", port, "-r", "off", "Convoy"]
    bench.path("spool").mkdir()
    # It wants a system bus, and is content with any.
    bus = 'DBUS_SYSTEM_BUS_ADDRESS=$DBUS_SESSION_BUS_ADDRESS exec "$@"'
    bench.start("printer", "dbus-run-session", "--", "sh", "-c", bus, "sh", *printer)
    bench.listens(port, "localhost")
    ipptool = ["ipptool", "-t", "ipps://localhost:%d/ipp/print" % port, "get-printer-attributes.test"]
    contains(bench.text(*ipptool), "[PASS]", "ipptool before")
    before = shown(bench, port)
    check(before, "no TLS before")

    place = '[places.tls]\npreset = "cups"\nfolder = "%s"\nserver_name = "localhost"\nconfirm = "localhost:%d"\n' % (keys, port)
    controller, agent = fleet(bench, place, "TLS")
    check(served(bench, port, controller.ca) is None, "the printer's own certificate is trusted")
    controller.convoy("scep", "timer", "on", "--start", "at-once")
    status = agent.succeeded(1)
    found = served(bench, port, controller.ca)
    check(found, "what the printer serves does not hold for 127.0.0.1 under our CA")
    number, sans = found
    in_use(controller, number, status)
    check(number != before, "the same certificate as before")
    equal(sans, NAMES, "names of the printer (C2.7: its address)")
    is_of_key(bench, keys / "localhost.crt", keys / "localhost.key")
    contains(bench.text(*ipptool), "[PASS]", "ipptool after")
    # An address is its common name, so nothing is to be warned of.
    equal(status["record"]["warnings"], [], "warnings")

    controller.convoy("scep", "timer", "off")
    controller.convoy("scep", "timer", "on")
    status = agent.succeeded(2)
    renewed, sans = served(bench, port, controller.ca) or (None, None)
    in_use(controller, renewed, status)
    check(renewed != number and sans == NAMES, "renewed: %s %s, before: %s" % (renewed, sans, number))
    agent.look_everywhere()


# nginx.


class Nginx:
    def __init__(self, bench):
        self.bench, self.port = bench, free_port()
        self.folder = bench.path("nginx")
        for name in ("conf", "logs", "tmp"):
            (self.folder / name).mkdir(parents=True)
        self.certificate, self.key = self.folder / "server.crt", self.folder / "server.key"
        self.conf = self.folder / "conf/nginx.conf"
        paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        self.conf.write_text(
            "daemon off;\npid nginx.pid;\nerror_log logs/error.log;\nevents {}\nhttp {\n  access_log off;\n"
            + "".join("  %s_temp_path tmp/%s;\n" % (path, path) for path in paths)
            + "  server {\n    listen 127.0.0.1:%d ssl;\n    ssl_certificate %s;\n    ssl_certificate_key %s;\n  }\n}\n"
            % (self.port, self.certificate, self.key)
        )
        self_signed(bench, self.certificate, self.key)
        self.program = ["nginx", "-p", str(self.folder), "-c", "conf/nginx.conf"]
        bench.start("nginx", *self.program)
        bench.listens(self.port)

    def place(self):
        words = ", ".join('"%s"' % word for word in self.program)
        place = '[places.tls]\npreset = "nginx"\ncertificate = "%s"\nkey = "%s"\nnginx = [%s]\nconfirm = "127.0.0.1:%d"\ntimeout = "20s"\n'
        return place % (self.certificate, self.key, words, self.port)

    def files(self):
        return {file.name: file.read_bytes() for file in sorted(self.folder.iterdir()) if file.suffix in (".crt", ".key")}


def nginx_takes_its_certificate(bench):
    nginx = Nginx(bench)
    before = shown(bench, nginx.port)
    controller, agent = fleet(bench, nginx.place(), "TLS")
    status = agent.request()
    number = status["record"]["certificate"]["serial"]
    in_use(controller, number, status)
    check(before and before != number, "the same certificate as before")
    until_served(bench, nginx.port, controller.ca, number)
    equal(names(bench, nginx.certificate), NAMES, "names")
    is_of_key(bench, nginx.certificate, nginx.key)
    agent.look_everywhere()


def nginx_with_a_broken_configuration(bench):
    nginx = Nginx(bench)
    controller, agent = fleet(bench, nginx.place(), "TLS")
    before, files, good = shown(bench, nginx.port), nginx.files(), nginx.conf.read_text()
    nginx.conf.write_text(good + "no such directive;\n")
    status = agent.request(status=1)
    equal(status["details"], "Key Use Location Error", "details")
    contains(status["cause"], "unknown directive", "cause: what nginx -t said")
    equal(nginx.files(), files, "files after the failure")
    equal(shown(bench, nginx.port), before, "the certificate that is served after the failure")
    left = [file.name for file in nginx.folder.rglob("*") if "convoy" in file.name and file.is_file()]
    equal(left, [], "files that were left over")
    # Not the configuration's fault alone: once it is right, the next request succeeds.
    nginx.conf.write_text(good)
    status = agent.request()
    until_served(bench, nginx.port, controller.ca, status["record"]["certificate"]["serial"])
    agent.look_everywhere()


# strongSwan's charon.


def charon_takes_its_certificate(bench):
    folder, conf, socket = bench.path("swanctl"), bench.path("strongswan.conf"), bench.path("vici")
    for name in ("x509", "x509ca", "private"):
        (folder / name).mkdir(parents=True)
    (folder / "swanctl.conf").write_text("")
    (folder / "swanctl.conf").chmod(0o600)
    conf.write_text(
        "charon {\n  load = random nonce x509 pem pkcs1 pkcs8 pubkey openssl sha1 sha2 socket-default kernel-netlink vici\n"
        "  port = 0\n  port_nat_t = 0\n  plugins { vici { socket = unix://%s } }\n}\n"
        "swanctl {\n  load = random x509 pem pkcs1 pkcs8 pubkey openssl\n  socket = unix://%s\n}\n" % (socket, socket)
    )
    env = {"STRONGSWAN_CONF": conf, "SWANCTL_DIR": folder}
    # Its pid file has one place in the whole system: hidden in a mount namespace, several can run.
    hidden = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /run && exec "$@"', "sh"]
    bench.start("charon", *hidden, "/usr/lib/ipsec/charon", env=env)
    bench.until("charon answers", lambda: bench.run("swanctl", "--stats", env=env, status=None).status == 0)

    place = '[places.ipsec.headquarters]\npreset = "strongswan"\nfolder = "%s"\nca = true\n' % folder
    controller, agent = fleet(bench, place, "IPSec", env)

    def loaded():
        return bench.text("swanctl", "--list-certs", "--type", "x509", env=env)

    check("serial" not in loaded(), "a certificate before")
    for _ in range(2):
        status = agent.request()
        number = serial(bench, folder / "x509/headquarters.pem")
        in_use(controller, number, status)
        colons = ":".join(number[at : at + 2] for at in range(0, len(number), 2)).lower()
        [entry] = [entry for entry in loaded().split("\n\n") if colons in entry]
        contains(entry, "has private key", "the certificate that charon has loaded")
        is_of_key(bench, folder / "x509/headquarters.pem", folder / "private/headquarters.pem")
    # charon knows our CA, too: the place says so.
    contains(bench.text("swanctl", "--list-certs", "--type", "x509ca", env=env), "Convoy SCEP CA", "charon's authorities")
    agent.look_everywhere()


# wpa_supplicant, and hostapd as the switch and the authentication server, at the two ends of a cable in a network namespace.


def supplicant_takes_its_certificate(bench):
    for name in ("server", "client"):
        self_signed(bench, bench.path(name + ".crt"), bench.path(name + ".key"))
    place = '[places.ieee8021x]\npreset = "wpa-supplicant"\ninterface = "cvb"\ncertificate = "%s"\nkey = "%s"\nwpa_cli = ["wpa_cli", "-p", "%s"]\n'
    control = bench.path("ctrl")
    controller, agent = fleet(bench, place % (bench.path("client.crt"), bench.path("client.key"), control), "IEEE 802.1X")
    # One that it was given before, and our CA. (One that it refuses would keep it waiting for a minute.)
    bench.path("known.pem").write_text(bench.path("client.crt").read_text() + controller.ca.read_text())
    old = serial(bench, bench.path("client.crt"))
    bench.path("users").write_text("* TLS\n")
    bench.path("hostapd.conf").write_text(
        "interface=cva\ndriver=wired\nieee8021x=1\neap_server=1\neap_user_file=users\nca_cert=known.pem\n"
        "server_cert=server.crt\nprivate_key=server.key\nuse_pae_group_addr=1\n"
    )
    bench.path("wpa.conf").write_text(
        'ctrl_interface=%s\nap_scan=0\nnetwork={\n key_mgmt=IEEE8021X\n eap=TLS\n identity="c"\n ca_cert="%s"\n client_cert="%s"\n'
        ' private_key="%s"\n eapol_flags=0\n}\n' % (control, *(bench.path(name) for name in ("server.crt", "client.crt", "client.key")))
    )
    cable = "ip link add cva type veth peer name cvb && ip link set cva up && ip link set cvb up"
    both = "hostapd -d hostapd.conf >hostapd.log 2>&1 & exec wpa_supplicant -D wired -i cvb -c wpa.conf"
    bench.start("wpa", "unshare", "--net", "sh", "-c", "%s && { %s; }" % (cable, both))

    def authenticated():
        status = bench.run("wpa_cli", "-p", control, "-i", "cvb", "status", status=None).out.decode()
        return "Supplicant PAE state=AUTHENTICATED" in status and "EAP state=SUCCESS" in status

    def has_seen(number):
        return "depth=0 serial_num=%s " % number in bench.path("hostapd.log").read_text(errors="replace")

    bench.until("authenticated with the old certificate", authenticated)
    check(has_seen(old), "hostapd has not seen the old certificate")
    status = agent.request()
    number = serial(bench, bench.path("client.crt"))
    in_use(controller, number, status)
    bench.until("hostapd sees the new certificate", lambda: has_seen(number))
    bench.until("authenticated with the new certificate", authenticated)
    agent.look_everywhere()


SCENARIOS = [
    printer_takes_its_certificate,
    nginx_takes_its_certificate,
    nginx_with_a_broken_configuration,
    charon_takes_its_certificate,
    supplicant_takes_its_certificate,
]
