"""Take the bytes of a commit or a tag apart into what is signed and its one signature, exactly as git does. Pure.

Whatever git would read in two ways is refused: a second signature, a header out of place, a NUL byte.
"""

import hashlib
import re
from typing import Literal, TypeAlias

from reconciler.linux.dataclass import dataclass

Form: TypeAlias = Literal["ssh", "openpgp"]
Fault: TypeAlias = Literal[
    "unsigned",
    "malformed",
    "other-name",
    "other-commit",
    "unknown-form",
    "no-signer",
    "ended",
    "not-verified",
    "no-program",
    "timed-out",
]

LARGEST_OBJECT = 16 * 1024 * 1024

_ID = r"(?:[0-9a-f]{40}|[0-9a-f]{64})"
_WHO = r"[^<>\n]*<[^<>\n]*> [0-9]{1,19} [-+][0-9]{4,6}"  # otherwise, git knows neither whose it is nor of when
_COMMIT = re.compile(rf"tree ({_ID})\n((?:parent {_ID}\n)*)author {_WHO}\ncommitter {_WHO}\n".encode())
_TAG = re.compile(rf"object ({_ID})\ntype ([a-z]+)\ntag ([^\n]+)\ntagger {_WHO}\n\n".encode())
_HEADER = re.compile(rb"[A-Za-z][A-Za-z0-9:._-]* [^\n]*")
_LINE = re.compile(rb"(?<![^\n])[^\n]*+\n")
_FIRST = (b"tree", b"parent", b"author", b"committer")
_BEGIN = re.compile(rb"^-----BEGIN (?:PGP SIGNATURE|PGP MESSAGE|SIGNED MESSAGE|SSH SIGNATURE)-----", re.MULTILINE)
_FORMS: dict[bytes, Form] = {b"SSH SIGNATURE": "ssh", b"PGP SIGNATURE": "openpgp"}


class NotSigned(Exception):
    """The reason why a commit or a tag counts as not signed by a signer; the message completes "the commit …"."""

    def __init__(self, fault: Fault, message: str) -> None:
        super().__init__(message)
        self.fault = fault


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedObject:
    """What was signed, and the signature. `target` is the tree of a commit, and the commit of a tag."""

    target: str
    payload: bytes
    signature: bytes
    form: Form
    parents: tuple[str, ...] = ()


def signed_commit(commit: str, raw: bytes) -> SignedObject:
    """Return what is signed of a commit, whose id its bytes have to have. Raises NotSigned."""
    found = _beginning("commit", commit, raw, _COMMIT)
    end = raw.find(b"\n\n")
    if end < 0:
        raise NotSigned("malformed", "has no message")
    signature: list[bytes] | None = None
    current, kept = b"", [raw[: found.end()]]
    expected = b"gpgsig" if len(commit) == 40 else b"gpgsig-sha256"
    for line in _LINE.findall(raw, found.end(), end + 1):
        if line.startswith(b" "):
            if not current:
                raise NotSigned("malformed", "has a header that continues none")
        else:
            current = _header(line)
            if current.startswith(b"gpgsig"):
                if signature is not None or current != expected:
                    raise NotSigned("malformed", "has another header for a signature than the one that counts")
                signature = []
        if current == expected and signature is not None:
            signature.append(line[1:] if line.startswith(b" ") else line[len(expected) + 1 :])
        else:
            kept.append(line)
    if signature is None:
        raise NotSigned("unsigned", "is not signed")
    form, block = _block(b"".join(signature))
    payload = b"".join((*kept, raw[end + 1 :]))
    return SignedObject(target=found[1].decode(), payload=payload, signature=block, form=form, parents=_parents(found))


def signed_tag(tag: str, raw: bytes, name: str, commit: str) -> SignedObject:
    """Return what is signed of a tag, which has to bear its reference's name and lead to a commit itself.

    Raises NotSigned.
    """
    found = _beginning("tag", tag, raw, _TAG)
    if found[2] != b"commit":
        raise NotSigned("malformed", "leads to something else than a commit")
    if found[3] != name.encode():
        raise NotSigned("other-name", f"is named {found[3].decode(errors='replace')[:64]!r} in what is signed")
    if found[1] != commit.encode():
        raise NotSigned("other-commit", f"leads to commit {found[1][:7].decode()} in what is signed, not {commit[:7]}")
    begins = [match.start() for match in _BEGIN.finditer(raw, found.end())]
    if not begins:
        raise NotSigned("unsigned", "is not signed")
    if len(begins) > 1:
        raise NotSigned("malformed", "has two signatures")
    form, block = _block(raw[begins[0] :])
    return SignedObject(target=found[1].decode(), payload=raw[: begins[0]], signature=block, form=form)


def _beginning(kind: str, object_id: str, raw: bytes, pattern: "re.Pattern[bytes]") -> "re.Match[bytes]":
    """Return the headers that every object of a kind begins with, once its id is known to be its own."""
    digest = hashlib.sha1 if len(object_id) == 40 else hashlib.sha256
    if digest(b"%s %d\0%s" % (kind.encode(), len(raw), raw), usedforsecurity=False).hexdigest() != object_id:
        raise NotSigned("malformed", "is damaged: its content does not have its id")
    if len(raw) > LARGEST_OBJECT:
        raise NotSigned("malformed", f"is larger than {LARGEST_OBJECT // 1024**2} MiB")
    if b"\0" in raw:
        raise NotSigned("malformed", "has a NUL byte in it")
    found = pattern.match(raw)
    if found is None or any(len(each) != len(object_id) for each in (found[1].decode(), *_parents(found))):
        raise NotSigned("malformed", f"has other headers than a {kind} begins with")
    return found


def _parents(found: "re.Match[bytes]") -> tuple[str, ...]:
    return tuple(line[7:] for line in found[2].decode().splitlines()) if found.re is _COMMIT else ()


def _header(line: bytes) -> bytes:
    """Return the name of a header that may follow the first ones."""
    name = line.partition(b" ")[0]
    if not _HEADER.fullmatch(line.rstrip(b"\n")) or name in _FIRST:
        raise NotSigned("malformed", "has a header out of place")
    return name


def _block(signature: bytes) -> tuple[Form, bytes]:
    """Return the form of a signature, which is one armored block and nothing else, and that block."""
    block = signature.rstrip(b"\n")
    first, _, rest = block.partition(b"\n")
    kind = first.removeprefix(b"-----BEGIN ").removesuffix(b"-----")
    if kind not in _FORMS or first != b"-----BEGIN %s-----" % kind:
        raise NotSigned("unknown-form", "is signed in a form that is not supported; expected ssh or OpenPGP")
    last = b"-----END %s-----" % kind
    if not rest.endswith(b"\n" + last) or rest.count(b"-----") != 2:
        raise NotSigned("malformed", "has something else beside its signature")
    return _FORMS[kind], block + b"\n"
