"""Disks without room: each is a small tmpfs, and nothing of the machine is filled."""

import json

from rig import BIN, check


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
        with open(disk / "fill", "wb", buffering=0) as fill:
            try:
                while True:
                    fill.write(bytes(4096))
            except OSError:
                pass
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
        (disk / "fill").unlink()
        bench.until("it is full no more", lambda: not degraded())
        convoy("groups", "create", "after")
    finally:
        bench.run("umount", "--lazy", disk)


SCENARIOS = [a_controller_starts_on_a_full_disk]
