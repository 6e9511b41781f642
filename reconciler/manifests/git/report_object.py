"""Write a host's report as a signed tag, and read one back only if that host's key has signed it. Pure.

The signature is one of OpenSSH with ed25519, in a namespace of its own (PROTOCOL.sshsig): it fits no commit, and no
signature of a commit fits a report.
"""

import base64
import binascii
import hashlib
import json
import math
import re
from typing import Any

from reconciler.manifests.git.signers import strings_of
from reconciler.planning.fleet.reports import MOST_BAD, MOST_RUNS, Report, Run

NAMESPACE = b"reconciler-report"
LARGEST = 64 * 1024
MOST_N = 2**31
_MOST_SERIES = 2**53

_MAGIC = b"SSHSIG"
_TYPE = b"ssh-ed25519"
_BEGIN, _END = b"-----BEGIN SSH SIGNATURE-----\n", b"-----END SSH SIGNATURE-----\n"
_TAG = re.compile(rb"object [0-9a-f]{40,64}\ntype blob\ntag reports/([^\n]+)\ntagger [^\n]*\n\n(\{[^\n]*\})\n")
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_LONGEST_S = 10 * 366 * 86400.0


class NotGenuine(ValueError):
    """The reason why a report does not count."""


def report_text(report: Report, origin: str, branch: str, blob: str, at_s: float) -> bytes:
    """Return the text of a tag that is to be signed; `blob` is any object that the repository has."""
    facts = {
        "version": 1,
        "host": report.host,
        "origin": origin,
        "branch": branch,
        "series": report.series,
        "n": report.n,
        "head": report.head,
        "in_force": report.in_force,
        "runs": [{"commit": run.commit, "state": run.state, "well_s": round(run.well_s, 1)} for run in report.runs],
        "bad": [*report.bad],
        "held": report.held,
    }
    who = f"{report.host} <{report.host}@reconciler.invalid> {at_s:.0f} +0000"
    return f"object {blob}\ntype blob\ntag reports/{report.host}\ntagger {who}\n\n{json.dumps(facts)}\n".encode()


def signed(text: bytes, private_key: bytes) -> bytes:
    """Return a text with its signature. Raises ValueError if the key cannot sign; the message names no secret."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_ssh_private_key

    try:
        key = load_ssh_private_key(private_key, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ValueError("is no private key of OpenSSH without a passphrase") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError("is no key of ssh-ed25519")  # noqa: TRY004  of the file, not of its type
    public = _string(_TYPE) + _string(key.public_key().public_bytes_raw())
    signature = _string(_TYPE) + _string(key.sign(_payload(text)))
    parts = (public, NAMESPACE, b"", b"sha512", signature)
    blob = _MAGIC + (1).to_bytes(4, "big") + b"".join(map(_string, parts))
    encoded = base64.b64encode(blob)
    lines = [encoded[at : at + 70] for at in range(0, len(encoded), 70)]
    return text + _BEGIN + b"".join(line + b"\n" for line in lines) + _END


def report_of(raw: bytes, host: str, key: str, origin: str, branch: str) -> Report:
    """Return the report of a host on an origin with a branch. Raises NotGenuine, which says why it does not count.

    A report of an earlier version names no origin.
    """
    if len(raw) > LARGEST:
        raise NotGenuine("is too large")
    found = _TAG.match(raw)
    if found is None or found[1] != host.encode():
        raise NotGenuine("is no report of this host")
    _verify(raw[: found.end()], raw[found.end() :], key)
    try:
        facts: Any = json.loads(found[2])
        report = _report(facts, host)
        is_of_branch, is_of_origin = facts["branch"] == branch, facts.get("origin", origin) == origin
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        raise NotGenuine("is not understood") from None
    if not is_of_origin:
        raise NotGenuine("is of another origin")
    if not is_of_branch:
        raise NotGenuine("is of another branch")
    return report


def _verify(text: bytes, armored: bytes, key: str) -> None:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    if not armored.startswith(_BEGIN) or not armored.endswith(_END):
        raise NotGenuine("is not signed")
    try:
        blob = base64.b64decode(b"".join(armored[len(_BEGIN) : -len(_END)].split(b"\n")), validate=True)
        public = base64.b64decode(key.split()[1], validate=True)
    except (binascii.Error, ValueError, IndexError):
        raise NotGenuine("has a damaged signature") from None
    magic = _MAGIC + (1).to_bytes(4, "big")
    parts = strings_of(blob.removeprefix(magic)) if blob.startswith(magic) else None
    if parts is None or len(parts) != 5 or parts[1:4] != [NAMESPACE, b"", b"sha512"]:
        raise NotGenuine("has a signature for something else")
    if parts[0] != public:
        raise NotGenuine("is signed by another key")
    named, signature = strings_of(public), strings_of(parts[4])
    if named is None or signature is None or len(named) != 2 or len(signature) != 2 or signature[0] != _TYPE:
        raise NotGenuine("has a damaged signature")
    try:
        Ed25519PublicKey.from_public_bytes(named[1]).verify(signature[1], _payload(text))
    except (InvalidSignature, ValueError):
        raise NotGenuine("has a signature that does not fit it") from None


def _payload(text: bytes) -> bytes:
    """Return what is signed of a text: PROTOCOL.sshsig of OpenSSH."""
    parts = (NAMESPACE, b"", b"sha512", hashlib.sha512(text).digest())
    return _MAGIC + b"".join(map(_string, parts))


def _string(content: bytes) -> bytes:
    return len(content).to_bytes(4, "big") + content


def _report(facts: Any, host: str) -> Report:
    """Return the report in what JSON says. Raises ValueError, TypeError, KeyError, OverflowError."""
    runs, bad, n, series = facts["runs"], facts["bad"], facts["n"], facts.get("series", 0)
    is_fit = facts["version"] == 1 and facts["host"] == host and type(n) is int and type(series) is int
    if not is_fit or not 0 < n < MOST_N or len(runs) > MOST_RUNS or len(bad) > MOST_BAD:
        raise ValueError
    if not 0 <= series < _MOST_SERIES:
        raise ValueError
    if facts["held"] not in ("", "paused", "refused"):
        raise ValueError
    return Report(
        host=host,
        series=series,
        n=n,
        head=_commit(facts["head"]),
        in_force=_commit(facts["in_force"]),
        runs=tuple(map(_run, runs)),
        bad=tuple(str(_commit(each)) for each in bad if each is not None),
        held=facts["held"],
    )


def _run(facts: Any) -> Run:
    well_s, state, commit = float(facts["well_s"]), facts["state"], _commit(facts["commit"])
    if commit is None or state not in ("starting", "failing", "well") or not 0 <= well_s <= _LONGEST_S:
        raise ValueError
    if not math.isfinite(well_s):
        raise ValueError
    return Run(commit=commit, state=state, well_s=well_s)


def _commit(text: Any) -> str | None:
    if text is not None and (not isinstance(text, str) or not _COMMIT.fullmatch(text)):
        raise ValueError
    return text
