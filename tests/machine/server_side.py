"""Our SCEP server against foreign clients: each enrols, renews and is refused, and every certificate is looked at with openssl."""

import shutil

from ours import Controller
from rig import HERE, PEERS, check, contains, equal, is_of_key, names, proxied, public_key, serial, verifies

# What strongSwan says of failInfo 2.
REFUSED = "badRequest - transaction not permitted or supported"
WRONG = "NOT-A-CHALLENGE-OF-THIS-SERVER-0"


def key(bench, name):
    """An RSA key in a file."""
    file = bench.path(name)
    bench.run("openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", file)
    return file


def good(controller, certificate, key_file, sans):
    """A certificate is all that it must be. Returns its serial."""
    bench = controller.bench
    verifies(bench, certificate, controller.ca)
    is_of_key(bench, certificate, key_file)
    equal(names(bench, certificate), sorted(sans), "subject alternative names")
    number = serial(bench, certificate)
    check(number in controller.issued(), "the list of issued certificates lacks %s" % number)
    return number


# micromdm's scepclient: SHA-1 and DES, whatever it is offered.


def scepclient(controller, challenge, *options, status=0, url=None):
    folder = controller.bench.path("scepclient")
    folder.mkdir(exist_ok=True)
    command = ["scepclient", "-private-key", folder / "key", "-certificate", folder / "cert", "-server-url", url or controller.url]
    command += ["-challenge", challenge, "-cn", "p1", "-organization", "Convoy", *options]
    return controller.bench.run(*command, status=status), folder / "key", folder / "cert"


def scepclient_is_refused_without_legacy(bench):
    controller = Controller(bench)
    done, _, certificate = scepclient(controller, controller.challenge(), status=1)
    contains(done.all, "failInfo: badAlg (0)", "scepclient")
    check(not certificate.exists(), "there is a certificate")
    equal(controller.issued(), {}, "issued certificates")
    controller.look_everywhere()


def scepclient_with_legacy(bench):
    controller = Controller(bench, "--scep-allow-legacy")
    _, key_file, certificate = scepclient(controller, controller.challenge())
    first = good(controller, certificate, key_file, [])
    # It finds its certificate, and renews. The challenge was good for one request only.
    scepclient(controller, WRONG)
    second = good(controller, certificate, key_file, [])
    check(first != second, "renewal brought the same certificate")
    equal(len(controller.issued()), 2, "number of certificates")
    shutil.rmtree(bench.path("scepclient"))
    done, *_ = scepclient(controller, WRONG, status=1)
    contains(done.all, "failInfo: badRequest (2)", "scepclient with a wrong challenge")
    # It sends by GET if POST is not offered: the message before the operation, in URL-safe base64.
    (bench.path("scepclient") / "csr.pem").unlink()
    wire = bench.path("wire")
    proxy = proxied(bench, controller.url, wire, "SHA-256,AES")
    scepclient(controller, controller.challenge(), url=proxy)
    good(controller, certificate, key_file, [])
    check(list(wire.glob("*PKIOperation.query")), "nothing was sent by GET")
    controller.look_everywhere()


# strongSwan's pki.


class Pki:
    """strongSwan's `pki --scep`."""

    def __init__(self, controller):
        self.controller, self.bench = controller, controller.bench
        conf = self.bench.path("strongswan.conf")
        conf.write_text("pki {\n  load = random x509 pem pkcs1 pkcs7 pkcs8 pubkey openssl sha1 sha2 aes md5 curl\n}\n")
        self.env = {"STRONGSWAN_CONF": conf}
        # What it knows of the CA, and its RA if it has one.
        self.ca, self.ra = controller.ca, None

    def authority(self):
        """Fetches the CA as it does, and returns the file."""
        file = self.bench.path("pki.ca.pem")
        options = ["--url", self.controller.url, "--caout", file, "--outform", "pem", "--force"]
        done = self.bench.run("pki", "--scepca", *options, env=self.env)
        fingerprint = self.bench.text("openssl", "x509", "-in", self.controller.ca, "-noout", "-fingerprint", "-sha256").split("=")[1]
        said = (done.err + done.out.decode()).upper().replace(":", "")
        contains(said, fingerprint.replace(":", ""), "pki --scepca shows another fingerprint than the controller's CA has")
        return file

    def command(self, name, key_file, *options, challenge=None):
        command = ["pki", "--scep", "--url", self.controller.url, "--in", key_file, "--dn", "O=Convoy, CN=" + name, "--san", name]
        command += ["--cacert-enc", self.ra or self.ca, "--cacert-sig", self.ra or self.ca, "--outform", "pem", *options]
        return command + (["--password", challenge] if challenge else [])

    def scep(self, name, key_file, *options, challenge=None, status=0):
        """Asks for a certificate. Returns its file, or what pki said when it failed."""
        done = self.bench.run(*self.command(name, key_file, *options, challenge=challenge), env=self.env, status=status)
        if status != 0:
            equal(done.out, b"", "standard output of a refused request")
            return done.err
        file = self.bench.path("%s.%s.pem" % (name, len(list(self.bench.folder.glob(name + ".*.pem")))))
        file.write_bytes(done.out)
        return file


def strongswan_enrols_and_renews(bench):
    controller = Controller(bench)
    pki = Pki(controller)
    pki.authority()
    old_key, new_key = key(bench, "old.key"), key(bench, "new.key")
    old = pki.scep("p2", old_key, challenge=controller.challenge())
    first = good(controller, old, old_key, ["DNS:p2"])
    new = pki.scep("p2", new_key, "--cert", old, "--key", old_key)
    second = good(controller, new, new_key, ["DNS:p2"])
    check(first != second, "renewal brought the same certificate")
    # The same key again, with the same transaction ID therefore.
    third = good(controller, pki.scep("p2", new_key, "--cert", new, "--key", new_key), new_key, ["DNS:p2"])
    equal(set(controller.issued()) >= {first, second}, True, "issued certificates of both keys")
    check(third in controller.issued(), "the third one is not listed")
    controller.look_everywhere()


def strongswan_with_other_algorithms(bench):
    controller = Controller(bench)
    pki = Pki(controller)
    variants = (["--cipher", "des3"], ["--digest", "sha384"], ["--digest", "sha512"], ["--rsa-padding", "pss"], ["--digest", "sha1"])
    for number, options in enumerate(variants):
        name = "v%d" % number
        key_file = key(bench, name + ".key")
        good(controller, pki.scep(name, key_file, *options, challenge=controller.challenge()), key_file, ["DNS:" + name])
    equal(len(controller.issued()), len(variants), "number of certificates")
    controller.look_everywhere()


def strongswan_waits_for_approval(bench):
    controller = Controller(bench)
    controller.convoy("scep", "approval", "manual")
    pki = Pki(controller)
    polling = ["--interval", "1", "--maxpolltime", "60"]
    approved, denied = key(bench, "approved.key"), key(bench, "denied.key")

    asks = bench.start("approved", *pki.command("p3", approved, *polling, challenge=controller.challenge()), env=pki.env)
    request = controller.waiting()
    equal(request["subject_alt_names"], ["dns:p3"], "names that the operator sees")
    equal(controller.issued(), {}, "issued before approval")
    check(asks.poll() is None, "pki does not wait: %s" % bench.output("approved"))
    number = controller.convoy("scep", "requests", "approve", request["transaction_id"])
    equal(bench.exits(asks), 0, "exit status of pki after approval: %s" % bench.output("approved"))
    text = bench.output("approved")
    certificate = bench.path("approved.pem")
    certificate.write_text(text[text.index("-----BEGIN") :])
    equal(good(controller, certificate, approved, ["DNS:p3"]), number, "serial of the approved certificate")

    asks = bench.start("denied", *pki.command("p4", denied, *polling, challenge=controller.challenge()), env=pki.env)
    request = controller.waiting()
    controller.convoy("scep", "requests", "deny", request["transaction_id"], "--reason", "nobody knows this printer")
    equal(bench.exits(asks), 1, "exit status of pki after denial: %s" % bench.output("denied"))
    contains(bench.output("denied"), REFUSED, "pki after denial")
    states = {(entry["state"], entry.get("reason") or "") for entry in controller.requests("--all")}
    equal(states, {("denied", "nobody knows this printer"), ("issued", "")}, "requests that were decided")
    equal(list(controller.issued()), [number], "issued certificates")
    controller.look_everywhere()


def strongswan_with_a_wrong_challenge(bench):
    controller = Controller(bench)
    pki = Pki(controller)
    key_file = key(bench, "key")
    for challenge in (WRONG, None):
        contains(pki.scep("p5", key_file, challenge=challenge, status=1), REFUSED, "pki with the challenge %s" % challenge)
    once = controller.challenge()
    pki.scep("p5", key_file, challenge=once)
    contains(pki.scep("p6", key(bench, "other.key"), challenge=once, status=1), REFUSED, "pki with a used challenge")
    equal(len(controller.issued()), 1, "number of certificates")
    controller.look_everywhere()


def revoked(bench):
    controller = Controller(bench)
    pki = Pki(controller)
    challenge = controller.challenge("--uses", "2")
    key_file, other_key = key(bench, "key"), key(bench, "other.key")
    certificate, other = pki.scep("p7", key_file, challenge=challenge), pki.scep("p8", other_key, challenge=challenge)
    number = good(controller, certificate, key_file, ["DNS:p7"])
    controller.convoy("scep", "issued", "revoke", number, "--reason", "keyCompromise")
    entry = controller.issued()[number]
    check(entry["revoked_at"], "not shown as revoked")
    equal(entry["revocation_reason"], "keyCompromise", "reason")

    crl = bench.path("crl.pem")
    crl.write_text(controller.convoy("scep", "crl") + "\n")
    text = bench.text("openssl", "crl", "-in", crl, "-noout", "-text", "-CAfile", controller.ca)
    contains(text, "Serial Number: " + number, "the list")
    contains(text, "Key Compromise", "the list")
    equal(text.count("Serial Number: "), 1, "revoked certificates on the list")
    bench.run("curl", "--silent", "--fail", "--output", bench.path("crl.der"), controller.url + "/crl")
    contains(bench.text("openssl", "crl", "-inform", "DER", "-in", bench.path("crl.der"), "-noout", "-text"), number, "the list over HTTP")
    verify = ["openssl", "verify", "-crl_check", "-CAfile", controller.ca, "-CRLfile", crl]
    contains(bench.run(*verify, certificate, status=2).err, "certificate revoked", "openssl verify")
    contains(bench.text(*verify, other), ": OK", "openssl verify of one that was not revoked")

    refused = pki.scep("p7", key(bench, "new.key"), "--cert", certificate, "--key", key_file, status=1)
    contains(refused, REFUSED, "renewal with a revoked certificate")
    renewed = pki.scep("p8", key(bench, "renewed.key"), "--cert", other, "--key", other_key)
    good(controller, renewed, bench.path("renewed.key"), ["DNS:p8"])
    equal(len(controller.issued()), 3, "number of certificates")
    controller.look_everywhere()


def renewal_after_a_rollover(bench):
    controller = Controller(bench)
    pki = Pki(controller)
    key_file = key(bench, "key")
    certificate = pki.scep("p13", key_file, challenge=controller.challenge())
    good(controller, certificate, key_file, ["DNS:p13"])
    former = bench.path("former.ca.pem")
    controller.ca.rename(former)

    controller.convoy("scep", "ca", "rollover")
    bench.run("curl", "--silent", "--fail", "--output", bench.path("next"), controller.url + "?operation=GetNextCACert")
    verify = ["openssl", "cms", "-verify", "-inform", "DER", "-in", bench.path("next"), "-CAfile", former, "-purpose", "any"]
    bench.run(*verify, "-out", bench.path("next.certs"))
    coming = bench.text("openssl", "pkcs7", "-inform", "DER", "-in", bench.path("next.certs"), "-print_certs", "-noout")
    contains(coming, "Convoy SCEP CA 2", "the next CA")
    controller.convoy("scep", "ca", "rollover", "--activate")
    controller.ca.write_text(controller.convoy("scep", "ca", "export") + "\n")
    contains(bench.text("openssl", "x509", "-in", controller.ca, "-noout", "-subject"), "Convoy SCEP CA 2", "the CA in force")

    # One that has learned of the new CA, and then one that has not, renew certificates of the former.
    for known in (controller.ca, former):
        pki.ca = known
        new_key = key(bench, known.name + ".key")
        renewed = pki.scep("p13", new_key, "--cert", certificate, "--key", key_file)
        good(controller, renewed, new_key, ["DNS:p13"])
    equal(len(controller.issued()), 3, "number of certificates")
    controller.look_everywhere()


# A CA that signs with ECDSA, and has an RA with an RSA key for messages.


def ecdsa_authority(bench, *options):
    """The controller, and its RA's certificate in a file."""
    controller = Controller(bench, "--scep-ca-key", "ecdsa-p256", *options)
    [told] = controller.json("scep", "ca", "show")["authorities"]
    equal(told["key"], "ecdsa-p256", "key of the CA")
    bench.run("curl", "--silent", "--fail", "--output", bench.path("cas"), controller.url + "?operation=GetCACert")
    text = bench.text("openssl", "pkcs7", "-inform", "DER", "-in", bench.path("cas"), "-print_certs")
    ra = bench.path("ra.pem")
    ra.write_text(text[text.rindex("-----BEGIN") :] + "\n")
    fingerprint = bench.text("openssl", "x509", "-in", ra, "-noout", "-fingerprint", "-sha256").split("=")[1]
    equal(fingerprint.replace(":", "").lower(), told["ra_fingerprint"], "SHA-256 of the RA")
    verifies(bench, ra, controller.ca)
    return controller, ra


def strongswan_at_a_ca_of_ecdsa(bench):
    controller, ra = ecdsa_authority(bench)
    pki = Pki(controller)
    pki.ra = ra
    old_key, new_key = key(bench, "old.key"), key(bench, "new.key")
    old = pki.scep("p14", old_key, challenge=controller.challenge())
    first = good(controller, old, old_key, ["DNS:p14"])
    text = bench.text("openssl", "x509", "-in", old, "-noout", "-text")
    contains(text, "ecdsa-with-SHA256", "what the certificate is signed with")
    new = pki.scep("p14", new_key, "--cert", old, "--key", old_key)
    check(first != good(controller, new, new_key, ["DNS:p14"]), "renewal brought the same certificate")
    contains(pki.scep("p15", key(bench, "other.key"), challenge=WRONG, status=1), REFUSED, "pki with a wrong challenge")
    crl = bench.path("crl.pem")
    crl.write_text(controller.convoy("scep", "crl") + "\n")
    bench.run("openssl", "crl", "-in", crl, "-noout", "-CAfile", controller.ca)
    bench.run("openssl", "verify", "-crl_check", "-CAfile", controller.ca, "-CRLfile", crl, new)
    controller.look_everywhere()


def scepclient_at_a_ca_of_ecdsa(bench):
    controller, ra = ecdsa_authority(bench, "--scep-allow-legacy")
    fingerprint = bench.text("openssl", "x509", "-in", ra, "-noout", "-fingerprint", "-sha256").split("=")[1]
    # It is to be told whom to encrypt to.
    to = ["-ca-fingerprint", fingerprint.replace(":", "")]
    _, key_file, certificate = scepclient(controller, controller.challenge(), *to)
    first = good(controller, certificate, key_file, [])
    scepclient(controller, WRONG, *to)
    check(first != good(controller, certificate, key_file, []), "renewal brought the same certificate")
    controller.look_everywhere()


# certmonger: always by GET.


def certmonger(bench):
    controller = Controller(bench)
    challenge = controller.challenge()
    folder, state = bench.path("certmonger"), bench.path("state")
    folder.mkdir()
    session = bench.path("session")
    lines = [
        "set -eux",
        "getcert add-scep-ca -c X -u %s -N %s" % (controller.url, controller.ca),
        "getcert request -c X -I one -k {f}/key -f {f}/cert -N CN=p9,O=Convoy -D p9.example -L %s -w --wait-timeout 30" % challenge,
        "getcert list -i one >{f}/first.status; cp {f}/cert {f}/first; cp {f}/key {f}/first.key",
        "getcert resubmit -i one -w --wait-timeout 30",
        "getcert list -i one >{f}/second.status; cp {f}/cert {f}/second; cp {f}/key {f}/second.key",
        "getcert rekey -i one -w --wait-timeout 30",
        "getcert list -i one >{f}/third.status; cp {f}/cert {f}/third; cp {f}/key {f}/third.key",
        "getcert request -c X -I two -k {f}/wrong -f {f}/wrong.cert -N CN=p10 -L %s -w --wait-timeout 30 || test $? = 2" % WRONG,
        "getcert list -i two >{f}/wrong.status",
    ]
    session.write_text("\n".join(lines).replace("{f}", str(folder)) + "\n")
    done = bench.run(HERE / "certmonger", state, "sh", session, status=None, seconds=150)
    log = (state / "log").read_text(errors="replace")
    equal(done.status, 0, "certmonger: %s" % log[-3000:])
    serials = []
    for step in ("first", "second", "third"):
        status = (folder / (step + ".status")).read_text()
        contains(status, "status: MONITORING", step)
        contains(status, "stuck: no", step)
        serials.append(good(controller, folder / step, folder / (step + ".key"), ["DNS:p9.example"]))
    equal(len(set(serials)), 3, "different serials")
    equal(public_key(bench, folder / "first"), public_key(bench, folder / "second"), "key after resubmit")
    check(public_key(bench, folder / "second") != public_key(bench, folder / "third"), "rekey kept the key")
    contains((folder / "wrong.status").read_text(), "status: CA_REJECTED", "certmonger with a wrong challenge")
    check(not (folder / "wrong.cert").exists(), "a certificate for a wrong challenge")
    equal(len(controller.issued()), 3, "number of certificates")
    controller.look_everywhere()


# PyScep.


def pyscep(bench):
    controller = Controller(bench)
    key_file, certificate = bench.path("key"), bench.path("cert")

    def ask(command, *more, name="p11", status=0):
        program = [PEERS / "venv/bin/python", HERE / "pyscep"]
        files = [key_file, certificate] if name == "p11" else [bench.path("x.key"), bench.path("x.cert")]
        return bench.text(*program, command, controller.url, name, *files, *more, status=status)

    ask("enrol", controller.challenge())
    first = good(controller, certificate, key_file, [])
    contains(ask("getcert"), "issued", "GetCert")
    equal(serial(bench, certificate), first, "serial of the certificate that GetCert brought")
    equal(ask("getcrl"), "crl", "GetCRL")
    ask("renew")
    second = good(controller, certificate, key_file, [])
    check(first != second, "renewal brought the same certificate")
    contains(ask("enrol", WRONG, name="p12", status=2), "failInfo", "PyScep with a wrong challenge")
    equal(len(controller.issued()), 2, "number of certificates")
    controller.look_everywhere()


SCENARIOS = [
    certmonger,
    strongswan_waits_for_approval,
    strongswan_with_other_algorithms,
    strongswan_enrols_and_renews,
    strongswan_with_a_wrong_challenge,
    revoked,
    renewal_after_a_rollover,
    scepclient_is_refused_without_legacy,
    scepclient_with_legacy,
    strongswan_at_a_ca_of_ecdsa,
    scepclient_at_a_ca_of_ecdsa,
    pyscep,
]
