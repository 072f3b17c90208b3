#!/usr/bin/env python3
"""Runs the scenarios whose names contain one of the given words (all without), several at a time, and says how each went: one line on
standard output, and the log of one that failed on standard error. Started by tests/machine/run, which sees to peers and binaries."""

import concurrent.futures
import os
import pathlib
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback

import client_side
import disks
import leaks
import places
import roads
import server_side
from rig import Bench, Failed

# They wait more than they work; but each starts a controller, which makes an RSA key.
AT_ONCE = 4 * (os.cpu_count() or 1)
LOG_LINES = 200
say = threading.Lock()


def told(name, good, seconds, why=""):
    with say:
        print("%-52s %-6s %6.1f" % (name, "ok" if good else "FAILED", seconds), flush=True)
        if why:
            print(why, file=sys.stderr, flush=True)


def last_lines(file, count):
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join(["    " + line[:500] for line in lines[-count:]])


def story(bench):
    """What is left of a failed scenario: its own log, and those of its processes."""
    parts = []
    for file in sorted(bench.folder.rglob("*")):
        is_log = file.name == "log" or file.suffix == ".log"
        if is_log and file.is_file():
            parts.append("  -- %s\n%s" % (file.relative_to(bench.folder), last_lines(file, LOG_LINES)))
    return "\n".join(parts)


def attempt(scenario, bench):
    begun = time.monotonic()
    try:
        scenario(bench)
        why = ""
    except Failed as failed:
        why = str(failed)
    except Exception:  # A scenario that breaks has failed, and the others go on.
        why = traceback.format_exc()
    finally:
        stopped = bench.over
        bench.clear()
    if stopped:
        return False
    bench.failed = bool(why)
    seconds = time.monotonic() - begun
    told(scenario.__name__, not why, seconds, why and "%s: %s\n%s" % (scenario.__name__, why, story(bench)))
    return not why


def left_over(folder):
    """Processes that name our folder, which is of this run alone, and have outlived their scenario."""
    found = {}
    for process in pathlib.Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            try:
                line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if str(folder) in line:
                found[int(process.name)] = line
    return found


def ended(*_):
    raise SystemExit("ended by a signal")


def main(words):
    # The longest first.
    scenarios = [*client_side.SCENARIOS, *server_side.SCENARIOS, *places.SCENARIOS, *roads.SCENARIOS, *disks.SCENARIOS]
    chosen = [each for each in scenarios if not words or any(word in each.__name__ for word in words)]
    if not chosen:
        sys.exit("no scenario has such a name; there are:\n  " + "\n  ".join(each.__name__ for each in scenarios))
    signal.signal(signal.SIGTERM, ended)
    begun = time.monotonic()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="convoy-machine."))
    benches = {each: Bench(folder / each.__name__) for each in chosen}
    good = True
    try:
        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
            try:
                good = all([*pool.map(lambda each: attempt(each, benches[each]), chosen)])
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                for bench in benches.values():
                    bench.clear()
                raise
        good &= search([*benches.values()])
        for process, line in left_over(folder).items():
            good = False
            told("process left over", False, 0, "%s %s" % (process, line))
            os.kill(process, signal.SIGKILL)
    finally:
        if os.environ.get("CONVOY_KEEP"):
            print("kept: %s" % folder, file=sys.stderr)
        else:
            shutil.rmtree(folder, ignore_errors=True)
    print("%d scenarios, %.1f s" % (len(chosen) + 1, time.monotonic() - begun))
    return 0 if good else 1


def search(benches):
    begun = time.monotonic()
    name = leaks.nothing_secret_is_said.__name__
    try:
        counts = leaks.nothing_secret_is_said(benches)
        told("%s (%d in %d)" % (name, *counts), True, time.monotonic() - begun)
        return True
    except (Failed, OSError) as failed:
        told(name, False, time.monotonic() - begun, str(failed))
        return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
