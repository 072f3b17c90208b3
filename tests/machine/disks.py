"""Disks without room: each is a small tmpfs, and nothing of the machine is filled."""

import json

from ours import Controller
from rig import BIN, check, equal


def fill(disk, files=0):
    """Leaves no room on a disk: not for bytes, nor, if it takes at most this many, for files. Returns what takes it."""
    taken = [disk / "fill"]
    with open(taken[0], "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
    try:
        while len(taken) <= files:
            name = disk / ("fill%d" % len(taken))
            name.touch()
            taken.append(name)
    except OSError:
        pass
    return taken


def a_controller_starts_on_a_full_disk(bench):
    # Given a controller whose disk has run full,
    disk = bench.path("m")
    disk.mkdir(mode=0o700)
    bench.run("mount", "-t", "tmpfs", "-o", "size=12m,mode=0700", "tmpfs", disk)
    try:
        folder = disk / "d"
        command = [BIN / "convoy-controller", "--data-dir", folder, "--name", "localhost"]
        command += ["--agents-addr", "127.0.0.1:0", "--api-addr", "127.0.0.1:0"]

        def convoy(*words, **options):
            return bench.run(BIN / "convoy", "--data-dir", folder, *words, **options).out.decode()

        def degraded():
            reasons = json.loads(convoy("status", "-o", "json"))["degraded"]
            return [reason["code"] for reason in reasons]

        process = bench.start("first", *command)
        bench.until("the controller serves", lambda: (folder / "addresses").exists())
        taken = fill(disk)
        numbers = iter(range(1000))

        def is_full():
            if degraded():
                return True
            bench.run(BIN / "convoy", "--data-dir", folder, "groups", "create", "g%d" % next(numbers), status=None)
            return False

        bench.until("it says that its disk is full", is_full)
        check("disk_full" in degraded(), "not called full: %s" % degraded())

        # when it is killed and started, then it serves, and says so again;
        process.kill()
        process.wait()
        bench.stop(process)
        bench.start("second", *command)
        bench.until("it serves again", lambda: bench.run(BIN / "convoy", "--data-dir", folder, "status", status=None).status == 0)
        check("disk_full" in degraded(), "not called full after the start: %s" % degraded())

        # and when there is room, it goes on by itself.
        for file in taken:
            file.unlink()
        bench.until("it is full no more", lambda: not degraded())
        convoy("groups", "create", "after")
    finally:
        bench.run("umount", "--lazy", disk)


def an_agent_starts_on_a_full_disk(bench):
    # Given an agent that has joined, whose disk has no room even for its lock,
    controller = Controller(bench)
    disk = bench.path("m")
    disk.mkdir(mode=0o700)
    bench.run("mount", "-t", "tmpfs", "-o", "size=1m,nr_inodes=64,mode=0700", "tmpfs", disk)
    try:
        token = controller.convoy("token", "create", secret=True)
        bench.secrets.append(token)
        folder = disk / "s"
        bench.run(BIN / "convoy-agent", "join", "-", "--state-dir", folder, "--name", "full", given=token.encode())
        (folder / "lock").unlink()
        taken = fill(disk, files=64)

        # when it is started twice,
        def client():
            return controller.json("clients", "show", "full")

        def start(name):
            process = bench.start(name, BIN / "convoy-agent", "run", "-vv", "--state-dir", folder)
            bench.until("the agent is in session", lambda: "in session with the controller" in bench.output(name))
            bench.until("the agent is connected", lambda: client()["connected"])
            check("the disk of the state folder is full" in bench.output(name), "it does not say what is wrong")
            return process

        for name in ("first", "second"):
            process = start(name)
            other = bench.run(BIN / "convoy-agent", "run", "--state-dir", folder, status=None)
            check("another convoy-agent holds" in other.err, "two at a time: %s" % other.all)
            if name == "first":
                process.kill()
                process.wait()
                bench.stop(process)
        equal(client()["state"], "active", "state of a client that was started again on a full disk")

        # then it is in session, and a rotation names what it lacks;
        certificate, key = bench.path("new.crt"), bench.path("new.key")
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30"]
        command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", certificate]
        bench.run(*command)
        controller.convoy("cert", "import", "--cert", certificate, "--key", key)
        controller.convoy("rotation", "start", "--to", "2")

        def reason():
            missing = controller.json("rotation", "status")["missing"]
            return missing and missing[0]["reason"]["code"]

        bench.until("it is missing because its disk is full", lambda: reason() == "disk-full")
        sessions = bench.output("second").count("in session with the controller")
        equal(sessions, 1, "sessions of an agent that waits for room")

        # and when there is room, it goes on by itself.
        for file in taken:
            file.unlink()
        bench.until("the rotation completes", lambda: controller.json("rotation", "status")["phase"] == "Completed", seconds=120)
        status = json.loads(bench.text(BIN / "convoy-agent", "status", "--state-dir", folder, "-o", "json"))
        equal(status["incarnation"], 1, "starts that are stored")
        check(status["running"], "not taken for running")
    finally:
        bench.run("umount", "--lazy", disk)


SCENARIOS = [
    a_controller_starts_on_a_full_disk,
    an_agent_starts_on_a_full_disk,
]
