"""What every scenario stands on: a folder of its own, processes that end with it, commands whose output is kept, and waiting with a deadline."""

import os
import pathlib
import signal
import socket
import subprocess
import threading
import time
import urllib.parse

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PEERS = pathlib.Path(os.environ.get("CONVOY_PEERS", ROOT / "target/peers")).resolve()
BIN = pathlib.Path(os.environ.get("CONVOY_BIN", ROOT / "target/debug")).resolve()

# Long enough for a debug build on a busy machine. Nothing waits for its end unless something is wrong.
PATIENCE = 60


class Failed(Exception):
    """What a scenario found to be otherwise than it must be."""


def check(holds, what):
    """An assertion that survives `python -O` and says what was wanted."""
    if not holds:
        raise Failed(what)


def equal(found, wanted, what):
    check(found == wanted, "%s: found %r, wanted %r" % (what, found, wanted))


def contains(text, wanted, what):
    check(wanted in text, "%s: no %r in: %s" % (what, wanted, text.strip()[-2000:]))


def free_port():
    """A port that nothing listens on just now, for peers that cannot choose one themselves."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Done:
    """What became of a command."""

    def __init__(self, status, out, err):
        self.status, self.out, self.err = status, out, err
        self.all = out.decode(errors="replace") + err


class Bench:
    """A scenario's folder, its processes and its log."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir(parents=True)
        self.log_file = folder / "log"
        self.processes = []
        self.lock = threading.Lock()
        self.since = time.monotonic()
        # What must be nowhere, and where it must not be: collected for the search at the end.
        self.secrets = []
        self.searched = []
        self.failed = False
        self.over = False

    def path(self, name):
        return self.folder / name

    def log(self, text):
        with self.lock, open(self.log_file, "a", encoding="utf-8") as log:
            log.write("[%7.3f] %s\n" % (time.monotonic() - self.since, text))

    def run(self, *command, status=0, env=None, cwd=None, given=None, seconds=PATIENCE):
        """Runs a command to its end. status: what it must exit with; None: whatever."""
        command = [str(word) for word in command]
        environment = {**os.environ, **{key: str(value) for key, value in (env or {}).items()}}
        try:
            done = subprocess.run(
                command,
                env=environment,
                cwd=cwd or self.folder,
                input=given if given is not None else b"",
                capture_output=True,
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired as slow:
            raise Failed("not done within %s s: %s" % (seconds, " ".join(command))) from slow
        done = Done(done.returncode, done.stdout, done.stderr.decode(errors="replace"))
        self.log("%s\n-> %s\n%s" % (" ".join(command), done.status, done.all))
        if status is not None:
            equal(done.status, status, "exit status of %s: %s" % (" ".join(command), done.all[-1500:]))
        return done

    def text(self, *command, **options):
        """The standard output of a command that succeeds."""
        return self.run(*command, **options).out.decode(errors="replace").strip()

    def start(self, name, *command, env=None, cwd=None):
        """Starts a process that ends with the scenario; its output is in NAME.log."""
        command = [str(word) for word in command]
        environment = {**os.environ, **{key: str(value) for key, value in (env or {}).items()}}
        check(not self.over, "stopped")
        self.log("starts %s: %s" % (name, " ".join(command)))
        with open(self.path(name + ".log"), "ab") as out:
            process = subprocess.Popen(
                command,
                env=environment,
                cwd=cwd or self.folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        with self.lock:
            self.processes.append((name, process))
        return process

    def output(self, name):
        """What a started process has said so far."""
        return self.path(name + ".log").read_text(encoding="utf-8", errors="replace")

    def stop(self, process):
        """Ends a started process and all that it started in turn."""
        for sign, seconds in ((signal.SIGTERM, 10), (signal.SIGKILL, 10)):
            try:
                os.killpg(process.pid, sign)
            except ProcessLookupError:
                pass
            try:
                process.wait(seconds)
                break
            except subprocess.TimeoutExpired:
                continue
        # Whoever of the group outlived its leader.
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass
        with self.lock:
            self.processes = [(name, other) for name, other in self.processes if other is not process]

    def clear(self):
        """Ends all that was started. Nothing can be started any more, or waited for."""
        self.over = True
        for _, process in reversed(list(self.processes)):
            self.stop(process)

    def until(self, what, probe, seconds=PATIENCE, every=0.03):
        """Asks probe again and again, until it returns something; fails if it does not in time, or if a started process has ended."""
        deadline = time.monotonic() + seconds
        while True:
            found = probe()
            if found:
                return found
            check(not self.over, "stopped")
            if time.monotonic() >= deadline:
                raise Failed("not within %s s: %s" % (seconds, what))
            for name, process in list(self.processes):
                if process.poll() not in (None, 0):
                    raise Failed("%s has ended with %s; waited for: %s\n%s" % (name, process.returncode, what, self.output(name)[-2000:]))
            time.sleep(every)

    def listens(self, port, host="127.0.0.1"):
        def probe():
            try:
                socket.create_connection((host, port), 1).close()
                return True
            except OSError:
                return False

        self.until("something listens on port %s" % port, probe)

    def exits(self, process, seconds=PATIENCE):
        """The exit status of a started process."""
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired as slow:
            raise Failed("not done within %s s" % seconds) from slow


def proxied(bench, url, folder, *caps):
    """Puts tests/machine/record before a SCEP server, which writes to folder; returns the URL to use instead."""
    port, upstream = free_port(), urllib.parse.urlsplit(url)
    bench.start("record", HERE / "record", port, "http://" + upstream.netloc, folder, *caps)
    bench.listens(port)
    return "http://127.0.0.1:%d%s" % (port, upstream.path)


# Certificates, as openssl reads them.


def serial(bench, certificate):
    """Upper-case hex."""
    return bench.text("openssl", "x509", "-in", certificate, "-noout", "-serial").split("=", 1)[1]


def names(bench, certificate):
    """The subject alternative names, as openssl writes them."""
    text = bench.text("openssl", "x509", "-in", certificate, "-noout", "-ext", "subjectAltName")
    return sorted(name.strip() for name in text.splitlines()[-1].split(",")) if text else []


def public_key(bench, certificate):
    return bench.text("openssl", "x509", "-in", certificate, "-noout", "-pubkey")


def is_of_key(bench, certificate, key):
    equal(bench.text("openssl", "pkey", "-in", key, "-pubout"), public_key(bench, certificate), "the key of %s" % certificate)


def verifies(bench, certificate, ca):
    contains(bench.text("openssl", "verify", "-x509_strict", "-CAfile", ca, certificate), ": OK", "openssl verify")


def served(bench, port, ca, address="127.0.0.1", name="localhost"):
    """Serial and names of the certificate that is served, after a full check of chain and address. None: the check failed."""
    command = ["openssl", "s_client", "-connect", "%s:%s" % (name, port), "-servername", name, "-verify_ip", address]
    command += ["-verify_return_error", "-CAfile", ca]
    done = bench.run(*command, status=None)
    if done.status != 0:
        return None
    return leaf(bench, done)


def shown(bench, port, name="localhost"):
    """Serial of the certificate that is served, whoever issued it. None: no handshake."""
    done = bench.run("openssl", "s_client", "-connect", "%s:%s" % (name, port), "-servername", name, status=None)
    found = leaf(bench, done)
    return found and found[0]


def leaf(bench, done):
    begin, end = done.out.find(b"-----BEGIN CERTIFICATE-----"), done.out.find(b"-----END CERTIFICATE-----")
    if begin < 0 or end < 0:
        return None
    file = bench.path("served.pem")
    file.write_bytes(done.out[begin:end] + b"-----END CERTIFICATE-----\n")
    return serial(bench, file), names(bench, file)
