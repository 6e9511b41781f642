"""Verify signatures made with ssh keys, by ssh-keygen and as of now: the date of a commit is its author's to choose.

The signer is the principal of the key in the file of allowed signers, whatever a commit says of itself.
"""

import base64
import binascii
from collections.abc import Callable
from datetime import datetime

from reconciler.linux.memory_files import memory_files, path_of
from reconciler.manifests.git.signed_objects import NotSigned, SignedObject
from reconciler.manifests.git.signers import Signers, fingerprint, strings_of
from reconciler.manifests.git.verifiers import Programs

NAMESPACE = "git"

_MAGIC = b"SSHSIG\x00\x00\x00\x01"
_LONGEST_PRINCIPAL = 256


async def ssh_signer(
    found: SignedObject, signers: Signers, programs: Programs, now: Callable[[], float]
) -> tuple[str, str]:
    """Return the principal and the fingerprint of the key that made a signature. Raises NotSigned, OSError."""
    key = _key_of(found.signature)
    with memory_files(signers.content, found.signature) as files:
        allowed, signature = map(path_of, files)
        known = await programs.run("ssh-keygen", "-Y", "find-principals", "-f", allowed, "-s", signature, files=files)
        principal = _principal(known.output) if known.status == 0 else ""
        if not principal:
            raise _unknown(key, signers, now())
        arguments = ("-Y", "verify", "-f", allowed, "-I", principal, "-n", NAMESPACE, "-s", signature)
        done = await programs.run("ssh-keygen", *arguments, files=files, given=found.payload)
    if done.status != 0:
        raise _refused(key, principal, signers, now())
    return principal, fingerprint(key)


def _key_of(signature: bytes) -> bytes:
    """Return the public key in a signature, for messages: PROTOCOL.sshsig of OpenSSH."""
    encoded = b"".join(signature.split(b"\n")[1:-2])
    try:
        blob = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        blob = b""
    parts = strings_of(blob.removeprefix(_MAGIC)) if blob.startswith(_MAGIC) else None
    if parts is None or len(parts) != 5:
        raise NotSigned("malformed", "has a damaged signature")
    if parts[1] != NAMESPACE.encode():
        raise NotSigned("not-verified", f"is signed for something else than {NAMESPACE}")
    return parts[0]


def _principal(output: bytes) -> str:
    """Return the first principal that is found; "" for one that cannot be shown."""
    first = output.partition(b"\n")[0]
    text = first.decode(errors="replace")
    is_fit = text.isascii() and text.isprintable() and " " not in text and len(text) <= _LONGEST_PRINCIPAL
    return text if is_fit else ""


def _unknown(key: bytes, signers: Signers, now: float) -> NotSigned:
    lines = signers.of_key(key)
    for line in lines:
        who = line.principals[0]
        if line.valid_before is not None and now > line.valid_before:
            return NotSigned("ended", f"is signed by {who}, whose key ended on {_day(line.valid_before)}")
        if line.valid_after is not None and now < line.valid_after:
            return NotSigned("ended", f"is signed by {who}, whose key begins on {_day(line.valid_after)}")
    if lines:
        who = lines[0].principals[0]
        return NotSigned("no-signer", f"is signed by the key of {who}, which may not sign commits itself")
    return NotSigned("no-signer", f"is signed by a key that no signer has ({_shown(key)})")


def _refused(key: bytes, principal: str, signers: Signers, now: float) -> NotSigned:
    lines = [line for line in signers.of_key(key) if line.is_valid(now)]
    if lines and not any(not line.namespaces or NAMESPACE in line.namespaces for line in lines):
        return NotSigned("no-signer", f"is signed by {principal}, whose key may not sign for {NAMESPACE}")
    return NotSigned("not-verified", f"has a signature of {principal} that does not fit it ({_shown(key)})")


def _shown(key: bytes) -> str:
    kind = key[4 : 4 + int.from_bytes(key[:4], "big")]
    return "a certificate" if b"-cert-" in kind else fingerprint(key)


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().date().isoformat()
