"""Our own programs as a scenario uses them: a controller with its command line, and agents. All else stays behind these two."""

import json

from rig import BIN, PATIENCE, Failed, equal


class Controller:
    """A running controller with its built-in SCEP server, in a folder of its own."""

    def __init__(self, bench, *options, name="controller", agents="127.0.0.1"):
        self.bench = bench
        self.folder = bench.path(name)
        self.folder.mkdir(mode=0o700)
        command = [BIN / "convoy-controller", "-vv", "--data-dir", self.folder, "--name", "localhost"]
        command += ["--agents-addr", agents + ":0"]
        for port in ("--api-addr", "--scep-addr", "--metrics-addr"):
            command += [port, "127.0.0.1:0"]
        self.process = bench.start(name, *command, *options)
        addresses = self.folder / "addresses"
        bench.until("the controller serves", lambda: addresses.exists() and "scep" in addresses.read_text())
        self.ports = {}
        for line in addresses.read_text().splitlines():
            kind, address = line.split()
            self.ports[kind] = int(address.rsplit(":", 1)[1])
        self.url = "http://127.0.0.1:%d/scep" % self.ports["scep"]
        # The command line's own words, but for the secrets that it is there to print.
        self.said = bench.path(name + ".said")
        bench.searched += [bench.path(name + ".log"), self.said, self.folder / "journal.redb"]
        self.ca = bench.path(name + ".ca.pem")
        self.ca.write_text(self.convoy("scep", "ca", "export") + "\n")

    def call(self, *words, status=0, given=None, secret=False):
        done = self.bench.run(BIN / "convoy", "--data-dir", self.folder, *words, status=status, given=given)
        with open(self.said, "ab") as said:
            said.write(done.err.encode() if secret else done.err.encode() + done.out)
        return done

    def convoy(self, *words, **options):
        """What `convoy` prints on standard output."""
        return self.call(*words, **options).out.decode().strip()

    def json(self, *words):
        return json.loads(self.convoy(*words, "-o", "json"))

    def challenge(self, *options):
        secret = self.convoy("scep", "challenge", "create", *options, secret=True)
        if len(secret) != 32:
            raise Failed("not a challenge: %r" % secret)
        self.bench.secrets.append(secret)
        return secret

    def issued(self):
        """Certificates by serial."""
        return {entry["serial"]: entry for entry in entries(self.json("scep", "issued", "list"))}

    def requests(self, *options):
        return entries(self.json("scep", "requests", "list", *options))

    def waiting(self):
        """The one request that waits, once it is there."""
        [request] = self.bench.until("a request waits for approval", self.requests)
        equal(request["state"], "waiting", "state of the request")
        return request

    def look_everywhere(self):
        """Has the API say all that it says, for the search for secrets."""
        for words in (["challenge", "list"], ["requests", "list", "--all"], ["issued", "list"], ["ca", "show"], ["crl"]):
            self.convoy("scep", *words)

    def agent(self, name="p1", configuration="", env=None):
        return Agent(self, name, configuration, env)

    def settings(self, *flags, challenge=None):
        """Sets what the group's devices are told; challenge: the foreign server's password."""
        if challenge is not None:
            flags += ("--challenge", "stored", "--challenge-file", "-")
        self.convoy("scep", "settings", "set", "--auto-adjust", "false", *flags, given=challenge and challenge.encode())


class Agent:
    """A running agent that has joined."""

    def __init__(self, controller, name, configuration, env):
        self.controller, self.bench, self.name = controller, controller.bench, name
        self.folder = self.bench.path(name)
        token = controller.convoy("token", "create", secret=True)
        self.bench.secrets.append(token)
        join = [BIN / "convoy-agent", "join", "-", "--state-dir", self.folder, "--name", name]
        self.id = self.bench.text(*join, given=token.encode())
        (self.folder / "agent.toml").write_text(configuration)
        run = [BIN / "convoy-agent", "run", "-vv", "--state-dir", self.folder]
        self.process = self.bench.start(name, *run, env=env)
        self.said = self.bench.path(name + ".said")
        self.bench.searched += [self.bench.path(name + ".log"), self.said]
        self.bench.until("the agent is connected", lambda: self.status()["connected"])

    def status(self):
        """Its newest request, as the controller tells of it."""
        [status] = [status for status in entries(self.controller.json("scep", "status")) if status["client"] == self.id]
        return status

    def ended(self, attempt):
        """The status of its request with this number, once that has ended."""

        def probe():
            for status in entries(self.controller.json("scep", "history", self.id)):
                if status["record"]["attempt"] == attempt and status["status"] in ("Successful", "Error"):
                    return status
            return None

        return self.bench.until("request %d of %s ends" % (attempt, self.name), probe, seconds=2 * PATIENCE, every=0.25)

    def succeeded(self, attempt):
        status = self.ended(attempt)
        equal((status["status"], status["cause"]), ("Successful", ""), "request %d" % attempt)
        return status

    def request(self, *flags, challenge=None, status=0):
        """Asks for a certificate by hand, and returns how that ended."""
        if challenge is not None:
            flags += ("--challenge-file", "-")
        command = ["scep", "request", self.id, *flags, "--wait", "-o", "json"]
        done = self.controller.call(*command, given=challenge and challenge.encode(), status=status)
        result = json.loads(done.out)["result"]
        equal(result["status"], "Error" if status else "Successful", "status: %s" % result)
        return result

    def json(self, *words):
        """What the device itself says."""
        done = self.bench.run(BIN / "convoy-agent", *words, "--state-dir", self.folder, "-o", "json")
        with open(self.said, "ab") as said:
            said.write(done.err.encode() + done.out)
        return json.loads(done.out)

    def look_everywhere(self):
        """Has it and the controller say all that they say, for the search for secrets."""
        for words in (["scep", "status"], ["scep", "history"], ["status"]):
            self.json(*words)
        for words in (["scep", "settings", "show"], ["scep", "status"], ["scep", "history", self.id], ["export"]):
            self.controller.convoy(*words)
        self.controller.look_everywhere()


def entries(answer):
    """The list in an answer, which is the whole or its only list."""
    if isinstance(answer, list):
        return answer
    lists = [value for value in answer.values() if isinstance(value, list)]
    return lists[0] if lists else []
