"""The way to the controller where names lead to more than one address: each process sees a hosts file of its own, so that nothing of the machine
is changed."""

import socket

from ours import Controller
from rig import BIN, check

# Both are this machine's, and nobody else's. The resolver names the first one first: it is nearer to itself (RFC 6724, rule 9).
DEAD, ALIVE = "127.0.0.1", "127.0.0.9"


class Dead:
    """A port that answers nobody: its queue is full, so that the kernel drops whoever else comes."""

    def __init__(self, port):
        self.listener = socket.socket()
        self.listener.bind((DEAD, port))
        self.listener.listen(0)
        self.queued = []
        while True:
            caller = socket.socket()
            caller.settimeout(1)
            self.queued.append(caller)
            try:
                caller.connect((DEAD, port))
            except TimeoutError:
                return


def seeing(hosts, *command):
    """The command, where /etc/hosts is this file."""
    bound = 'mount --bind "$1" /etc/hosts && shift && exec "$@"'
    return ["unshare", "--mount", "sh", "-c", bound, "sh", hosts, *command]


def a_name_with_a_dead_address_holds_up_nobody(bench):
    # Given a name whose first address leads nowhere,
    controller = Controller(bench, agents=ALIVE)
    dead = Dead(controller.ports["agents"])
    hosts = bench.path("hosts")
    hosts.write_text("%s localhost\n%s localhost\n" % (DEAD, ALIVE))
    token = controller.convoy("token", "create", secret=True)
    bench.secrets.append(token)
    folder = bench.path("p1")

    # when a host joins by that name, then it has joined,
    join = [BIN / "convoy-agent", "join", "-", "--state-dir", folder, "--name", "p1"]
    bench.run(*seeing(hosts, *join), given=token.encode())

    # and it is in session, and `check` reaches the controller,
    bench.start("p1", *seeing(hosts, BIN / "convoy-agent", "run", "-vv", "--state-dir", folder))
    bench.until("the agent is connected", lambda: controller.json("clients", "show", "p1")["connected"])
    bench.run(*seeing(hosts, BIN / "convoy-agent", "check", "--state-dir", folder))

    # and it takes part in a rotation to its end, probes and decoys included.
    key, certificate = bench.path("new.key"), bench.path("new.crt")
    names = "subjectAltName=DNS:localhost"
    subject = ["-subj", "/CN=localhost", "-addext", names]
    bench.run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject, "-keyout", key, "-out", certificate)
    controller.convoy("cert", "import", "--cert", certificate, "--key", key)
    controller.convoy("rotation", "start", "--to", "2")

    def completed():
        phase = controller.json("rotation", "status")["phase"]
        check(phase not in ("Aborted", "RolledBack"), "the rotation ended as %s" % phase)
        return phase == "Completed"

    bench.until("the rotation completes", completed, seconds=60)
    bench.run(*seeing(hosts, BIN / "convoy-agent", "check", "--state-dir", folder))
    check(dead.queued, "nobody was dead")


SCENARIOS = [a_name_with_a_dead_address_holds_up_nobody]
