"""Our agent at a foreign SCEP server, micromdm's: it answers with SHA-1 and DES, and refuses with failInfo 2 and nothing else."""

import datetime
import secrets

from ours import Controller
from rig import check, contains, equal, free_port, is_of_key, proxied, serial, verifies

# The signed attribute messageType (RFC 8894 section 3.2.1.2) with a value of two digits.
MESSAGE_TYPE = bytes.fromhex("060a6086480186f8450109023104") + b"\x13\x02"
PKCS_REQ, RENEWAL_REQ = b"19", b"17"


class Scepserver:
    """micromdm's scepserver with a CA of its own, and what passes on the wire to it."""

    def __init__(self, bench):
        self.bench = bench
        self.challenge = secrets.token_hex(12)
        bench.secrets.append(self.challenge)
        bench.run("scepserver", "ca", "-init", "-depot", "depot", "-organization", "Convoy", "-keySize", "2048")
        self.depot, port = bench.path("depot"), free_port()
        self.ca = self.depot / "ca.pem"
        bench.start("scepserver", "scepserver", "-depot", self.depot, "-port", port, "-challenge", self.challenge, "-allowrenew", "0")
        bench.listens(port)
        self.wire = bench.path("wire")
        self.url = proxied(bench, "http://127.0.0.1:%d/scep" % port, self.wire)

    def messages(self):
        """The PKIOperations so far: whether sent by POST, and their message types."""
        found = []
        for file in sorted(self.wire.glob("*-PKIOperation.request")):
            message = file.read_bytes()
            at = message.find(MESSAGE_TYPE)
            check(at > 0, "a message without a type: %s" % file.name)
            at += len(MESSAGE_TYPE)
            found.append((not file.with_suffix(".query").exists(), message[at : at + 2]))
        return found


def device(bench, *flags):
    """A server, a controller whose settings say it, and an agent that keeps key and certificate in files."""
    server = Scepserver(bench)
    controller = Controller(bench)
    places = '[places.tls]\npreset = "files"\ncertificate = "%s"\nkey = "%s"\nca = "%s"\n'
    files = [bench.path(name) for name in ("p1.crt", "p1.key", "p1.ca")]
    agent = controller.agent(configuration=places % tuple(files))
    names = ["--common-name", "127.0.0.1", "--organization", "Convoy", "--key-use", "TLS", "--key-name", "machine"]
    polling = ["--polls", "2", "--poll-interval", "1s", "--timeout", "20s"]
    controller.settings("--server", server.url, "--ca-certificate", server.ca, *names, *polling, *flags, challenge=server.challenge)
    return server, controller, agent


def obtained(server, agent, status):
    """What a success left on the device is that server's. Returns the serial."""
    bench = server.bench
    certificate, key = bench.path("p1.crt"), bench.path("p1.key")
    verifies(bench, certificate, server.ca)
    is_of_key(bench, certificate, key)
    equal(key.stat().st_mode & 0o777, 0o600, "mode of the key")
    number = serial(bench, certificate)
    # micromdm counts 2, 3, …: openssl writes 02, and so may we.
    equal(int(status["record"]["certificate"]["serial"], 16), int(number, 16), "serial in the status")
    check(list(server.depot.glob("*.%d.pem" % int(number, 16))), "the server has not issued %s" % number)
    newest = agent.json("scep", "history")["certificates"][0]
    equal((int(newest["serial"], 16), newest["in_use"]), (int(number, 16), True), "the device's history")
    return number


def agent_enrols_and_renews_by_the_timer(bench):
    server, controller, agent = device(bench, "--allow-legacy", "true")
    controller.convoy("scep", "timer", "on", "--start", "at-once", "--periodic", "1m")
    first = agent.succeeded(1)
    equal(first["record"]["trigger"], "timer", "what made the request")
    number = obtained(server, agent, first)
    until_next = datetime.datetime.fromisoformat(agent.status()["next_request"]) - datetime.datetime.fromisoformat(first["record"]["requested_at"])
    check(datetime.timedelta(seconds=58) < until_next < datetime.timedelta(seconds=62), "next request after %s" % until_next)
    equal(agent.json("scep", "status")["timer"], True, "the timer, as the device says")
    # What holds while the timer is on.
    contains(controller.call("scep", "settings", "set", "--polls", "3", status=1).err, "timer", "a change under the timer")
    contains(controller.call("scep", "request", agent.id, status=1).err, "timer", "a request by hand under the timer")
    second = agent.succeeded(2)
    check(number != obtained(server, agent, second), "renewal brought the same certificate")
    equal(server.messages(), [(True, PKCS_REQ), (True, RENEWAL_REQ)], "messages on the wire")
    agent.look_everywhere()


def agent_and_old_algorithms(bench):
    server, controller, agent = device(bench, "--allow-legacy", "false")
    refused = agent.request(status=1)
    equal(refused["details"], "Response Data Error", "details")
    contains(refused["cause"], "allow_legacy", "cause")
    check(not bench.path("p1.crt").exists(), "a certificate that was refused is in place")
    controller.settings("--allow-legacy", "true")
    accepted = agent.request()
    obtained(server, agent, accepted)
    contains(" ".join(accepted["record"]["warnings"]), "old algorithms", "warnings")
    agent.look_everywhere()


def agent_with_a_wrong_challenge(bench):
    server, _, agent = device(bench, "--allow-legacy", "true")
    wrong = secrets.token_hex(12)
    bench.secrets.append(wrong)
    refused = agent.request(challenge=wrong, status=1)
    equal(refused["details"], "Communication Error (SCEP ERROR Fail Info 2)", "details")
    check(refused["cause"], "no cause in words")
    # An error on the server's side is not polled for (C3.3).
    equal(len(server.messages()), 1, "number of messages")
    check(not bench.path("p1.crt").exists(), "there is a certificate")
    row = agent.json("scep", "status")["requests"][0]
    equal((row["status"], row["details"]), ("Error", refused["details"]), "the device's own words")
    obtained(server, agent, agent.request())
    agent.look_everywhere()


def agent_sends_by_get_and_post(bench):
    server, controller, agent = device(bench, "--allow-legacy", "true", "--get-only", "true")
    obtained(server, agent, agent.request())
    equal(server.messages(), [(False, PKCS_REQ)], "messages with get-only")
    controller.settings("--get-only", "false")
    obtained(server, agent, agent.request())
    equal(server.messages(), [(False, PKCS_REQ), (True, PKCS_REQ)], "messages without")
    agent.look_everywhere()


def agent_without_a_server(bench):
    server, controller, agent = device(bench, "--allow-legacy", "true")
    controller.settings("--server", "http://127.0.0.1:%d/scep" % free_port())
    equal(agent.request(status=1)["details"], "Communication Error (TOP ERROR)", "details without a server")
    controller.settings("--server", server.url + "/nothing")
    equal(agent.request(status=1)["details"], "Communication Error (TOP ERROR 404)", "details at a wrong path")
    agent.look_everywhere()


SCENARIOS = [
    agent_enrols_and_renews_by_the_timer,
    agent_and_old_algorithms,
    agent_with_a_wrong_challenge,
    agent_sends_by_get_and_post,
    agent_without_a_server,
]
