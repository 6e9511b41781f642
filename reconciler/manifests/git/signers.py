"""Parse OpenSSH's file of allowed signers, strictly: one line that is not understood refuses the file as a whole.

ssh-keygen passes over such a line with a warning, and the key on it then signs nothing, or for longer than it was meant
to. It is therefore given the file as it was understood here, never the original.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from reconciler.documents.problem import Problem
from reconciler.linux.dataclass import dataclass

LARGEST_FILE = 1024 * 1024

# The strings in a public key after its type: PROTOCOL.certkeys and PROTOCOL.u2f of OpenSSH, RFC 8709, 5656 and 4253.
_PARTS: Mapping[str, int] = {
    "ssh-ed25519": 1,
    "sk-ssh-ed25519@openssh.com": 2,
    "ecdsa-sha2-nistp256": 2,
    "ecdsa-sha2-nistp384": 2,
    "ecdsa-sha2-nistp521": 2,
    "sk-ecdsa-sha2-nistp256@openssh.com": 3,
    "ssh-rsa": 2,
}
_OPTION = re.compile(r'([A-Za-z-]+)(?:="([^"\\]*)")?(,|$)')
_MOST_WORDS = 4  # principals, options, type and key
_TIME = re.compile(r"([0-9]{8}|[0-9]{12}|[0-9]{14})(Z?)")
_FORMATS = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
_LEAST_RSA_BITS = 2048
_FORM = "expected 'alice@example.com ssh-ed25519 AAAA…', with options before the key type"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signer:
    """One line: who may sign, with which key, in which namespaces (all if empty), and when.

    Times are seconds since 1970. `options` are as they stand in the line. The key of a certificate authority signs
    nothing itself.
    """

    principals: tuple[str, ...]
    key_type: str
    key: bytes
    line: int
    options: str = ""
    is_authority: bool = False
    namespaces: tuple[str, ...] = ()
    valid_after: float | None = None
    valid_before: float | None = None

    def is_valid(self, now: float) -> bool:
        """Return whether the key may sign at a time, as ssh-keygen decides it."""
        return (self.valid_after is None or now >= self.valid_after) and (
            self.valid_before is None or now <= self.valid_before
        )

    def __str__(self) -> str:
        encoded = base64.b64encode(self.key).decode()
        return " ".join(filter(None, (",".join(self.principals), self.options, self.key_type, encoded)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Signers:
    """A whole file that was understood."""

    signers: tuple[Signer, ...]

    @property
    def content(self) -> bytes:
        """The file that ssh-keygen reads."""
        return "".join(f"{signer}\n" for signer in self.signers).encode()

    def trusted(self, now: float) -> str:
        """Return what identifies the keys that may sign at a time: it changes when one is added, removed or ends."""
        valid = (str(signer) for signer in self.signers if signer.is_valid(now))
        return hashlib.sha256("\n".join(valid).encode()).hexdigest()

    def of_key(self, key: bytes) -> tuple[Signer, ...]:
        """Return the lines of a public key."""
        return tuple(signer for signer in self.signers if signer.key == key)


def signers_of(file: str, content: bytes) -> Signers | list[Problem]:
    """Return the signers of a file, or all that is wrong with it."""
    if len(content) > LARGEST_FILE:
        return [_problem(file, 1, 1, f"is larger than {LARGEST_FILE // 1024} KiB")]
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        return [_problem(file, content[: error.start].count(b"\n") + 1, 1, "is not UTF-8")]
    signers, problems = [], []
    for number, line in enumerate(text.split("\n"), 1):
        stripped = line.removesuffix("\r").strip(" \t")
        if not stripped or stripped.startswith("#"):
            continue
        try:
            signers.append(_signer(stripped, number))
        except _Unclear as error:
            column = len(line) - len(line.lstrip(" \t")) + error.column
            problems.append(_problem(file, number, column, str(error)))
    if not signers and not problems:
        problems.append(_problem(file, 1, 1, f"names no signer; {_FORM}"))
    return problems or Signers(signers=tuple(signers))


def fingerprint(key: bytes) -> str:
    """Return the fingerprint of a public key as OpenSSH shows it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")


class _Unclear(ValueError):
    """A line that is not understood, at a column of its text."""

    def __init__(self, column: int, message: str) -> None:
        super().__init__(message)
        self.column = column


def _signer(line: str, number: int) -> Signer:
    if not line.replace("\t", " ").isprintable():
        raise _Unclear(1, "has characters that do not print")
    words = _words(line)
    if len(words) < 3:
        raise _Unclear(1, _FORM)
    (at, principals), (key_at, key_type), *rest = words
    options = ""
    if key_type not in _PARTS and len(rest) >= 2 and rest[0][1] in _PARTS:
        options, (key_at, key_type), *rest = key_type, *rest
    if key_type not in _PARTS:
        raise _Unclear(key_at, _why_no_type(key_type, [word for _, word in rest]))
    found = _options(options, words[1][0])
    is_authority = "cert-authority" in found
    after, before = (_time(found.get(name), words[1][0]) for name in ("valid-after", "valid-before"))
    if after is not None and before is not None and after >= before:
        raise _Unclear(words[1][0], "is never valid: 'valid-before' is not later than 'valid-after'")
    return Signer(
        principals=_principals(principals, at, is_authority=is_authority),
        key_type=key_type,
        key=_key(key_type, *rest[0][::-1]),
        line=number,
        options=options,
        is_authority=is_authority,
        namespaces=_namespaces(found.get("namespaces"), words[1][0]),
        valid_after=after,
        valid_before=before,
    )


def _words(line: str) -> list[tuple[int, str]]:
    """Return the first words of a line with their columns; in quotes, a space ends none. What follows is a comment."""
    found: list[tuple[int, str]] = []
    begin, is_quoted = 0, False
    for at, letter in enumerate(f"{line} "):
        if letter == '"':
            is_quoted = not is_quoted
        elif letter in " \t" and not is_quoted:
            if at > begin:
                found.append((begin + 1, line[begin:at]))
            begin = at + 1
            if len(found) == _MOST_WORDS:
                break
    if is_quoted and len(found) < _MOST_WORDS - 1:
        raise _Unclear(begin + 1, "has a quotation mark that is not closed")
    return found


def _why_no_type(word: str, rest: Iterable[str]) -> str:
    if "=" in word or word.rstrip(",").lower() == "cert-authority":
        if any(each in _PARTS for each in rest):
            return "has a space between its options; expected a comma and no space"
        return f"has options and no key; {_FORM}"
    if "-cert-" in word:
        return "has a certificate as its key; expected the key of its authority, with the option cert-authority"
    return f"has a key of the type {word[:64]!r}; expected one of {', '.join(_PARTS)}"


def _options(text: str, column: int) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    at = 0
    while at < len(text):
        match = _OPTION.match(text, at)
        if match is None:
            raise _Unclear(
                column + at, 'has an option that is not understood; expected NAME="VALUE", or cert-authority'
            )
        name, value = match[1].lower(), match[2]
        if name not in ("cert-authority", "namespaces", "valid-after", "valid-before"):
            raise _Unclear(column + at, f"has the option {name!r}, which is not known")
        if name in found:
            raise _Unclear(column + at, f"has the option '{name}' twice")
        if (value is None) != (name == "cert-authority"):
            expected = "no value" if name == "cert-authority" else "a value in quotes"
            raise _Unclear(column + at, f"has the option '{name}'; expected {expected}")
        found[name] = value
        at = match.end()
        if match[3] and at == len(text):
            raise _Unclear(column + at, "has a comma after its last option")
    return found


def _principals(text: str, column: int, *, is_authority: bool) -> tuple[str, ...]:
    if len(text) > 1 and text.startswith('"') and text.endswith('"'):
        text = text[1:-1]
    principals = tuple(text.split(","))
    for each in principals:
        if not each or any(letter in each for letter in ' \t#"'):
            raise _Unclear(column, "has an empty principal, or one with a space, a '#' or a quotation mark")
        if each.startswith("!") and not is_authority:
            raise _Unclear(column, "excludes a principal, which only a certificate authority can")
    return principals


def _namespaces(text: str | None, column: int) -> tuple[str, ...]:
    if text is None:
        return ()
    found = tuple(text.split(","))
    if not all(found) or any(" " in each for each in found):
        raise _Unclear(column, "has an empty namespace, or one with a space")
    return found


def _time(text: str | None, column: int) -> float | None:
    if text is None:
        return None
    match = _TIME.fullmatch(text)
    try:
        if match is None:
            raise ValueError
        found = datetime.strptime(match[1], _FORMATS[len(match[1])])  # noqa: DTZ007  local time, unless it says UTC
        return (found.replace(tzinfo=UTC) if match[2] else found).timestamp()
    except (ValueError, OverflowError):
        raise _Unclear(
            column, f"has the time {text[:64]!r}; expected YYYYMMDD or YYYYMMDDHHMM[SS], with or without Z"
        ) from None


def _key(key_type: str, encoded: str, column: int) -> bytes:
    damaged = _Unclear(column, "has a key that is damaged")
    try:
        key = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise damaged from None
    parts = strings_of(key)
    if parts is None or len(parts) != _PARTS[key_type] + 1 or parts[0] != key_type.encode():
        raise damaged
    if key_type == "ssh-rsa" and int.from_bytes(parts[2], "big").bit_length() < _LEAST_RSA_BITS:
        raise _Unclear(column, f"has an RSA key of less than {_LEAST_RSA_BITS} bits")
    if key_type.endswith("ed25519") and len(parts[1]) != 32:
        raise damaged
    return key


def strings_of(blob: bytes) -> list[bytes] | None:
    """Return the strings of which a binary text of ssh consists, None if it does not."""
    found, at = [], 0
    while at < len(blob):
        size = int.from_bytes(blob[at : at + 4], "big")
        if at + 4 + size > len(blob):
            return None
        found.append(blob[at + 4 : at + 4 + size])
        at += 4 + size
    return found


def _problem(file: str, line: int, column: int, message: str) -> Problem:
    return Problem(file=file, line=line, column=column, path="", message=message)
