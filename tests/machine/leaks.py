"""Searches what our programs wrote and said during the other scenarios for every secret of theirs."""

import base64
import urllib.parse

from rig import check

# The beginning of every kind of private key in PEM ends so.
KEY = b"PRIVATE KEY"


def forms(secret):
    """A secret as it might stand somewhere: as it is, in URLs, in base64, in hex, and in two bytes a character."""
    plain = secret.encode()
    yield plain
    yield urllib.parse.quote(secret, safe="").encode()
    yield plain.hex().encode()
    yield plain.hex().upper().encode()
    yield secret.encode("utf-16-be")
    # The middle of its base64, at each of the three places at which it can begin.
    for shift in range(3):
        yield base64.b64encode(b"\0" * shift + plain)[4:-4]


def key_lines(folder):
    """Lines of each private key in a folder's files, without its PEM label; of the second half, where nothing is public."""
    for file in folder.rglob("*"):
        if not file.is_file() or file.stat().st_size > 1 << 20:
            continue
        text = file.read_bytes()
        if KEY in text:
            body = text[text.index(KEY) :].split(b"-----")[1].split()
            yield from (line for line in body[len(body) // 2 :] if len(line) >= 40)


def nothing_secret_is_said(benches):
    """A scenario over all others: returns how many secrets were sought in how many files."""
    secrets, files = {KEY: KEY}, {}
    for bench in benches:
        files.update({file: bench.failed for file in bench.searched})
        for secret in bench.secrets:
            for form in forms(secret):
                secrets[form] = form
        for line in key_lines(bench.folder):
            secrets[line] = line
    check(len(secrets) > 1 or all(files.values()), "no secrets to look for")
    for file, is_of_failed in sorted(files.items()):
        text = file.read_bytes() if file.exists() else b""
        # A scenario that failed early may have left nothing.
        check(text or is_of_failed, "%s is empty: it would show nothing" % file)
        for secret in secrets:
            at = text.find(secret)
            if at >= 0:
                line = text[text.rfind(b"\n", 0, at) + 1 : at]
                check(False, "%s has a secret after: %s" % (file, line[-300:].decode(errors="replace")))
    return len(secrets), len(files)
