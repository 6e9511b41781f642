"""Open what age encrypted, and encrypt, in memory. Every limit is checked before anything is decrypted.

The header names the type of each recipient, and the recipient itself only if that is a key of ssh.
"""

import base64
import binascii
from collections import Counter
from collections.abc import Iterable

from reconciler.vault.encryption.identities import Identities, library

# The library takes time that grows with the square of it, 0.2 s for these, and Python waits for it.
MOST_RECIPIENTS = 100
_MOST_OF_ONE_KEY = 8  # files name a key of ssh once; trying a long one takes milliseconds
_BEGIN, _END = b"-----BEGIN AGE ENCRYPTED FILE-----", b"-----END AGE ENCRYPTED FILE-----"
_VERSION = b"age-encryption.org/v1\n"
_CUT_SHORT = "it is cut short, or was changed after it was encrypted; encrypt it again"


class CannotOpen(Exception):
    """A file cannot be decrypted; says why and what to do, and nothing that is in it."""


class NotForUs(CannotOpen):
    """It is encrypted to others."""


def opened(content: bytes, identities: Identities) -> bytes:
    """Decrypt a file, binary or armored, of at most a megabyte. Raises CannotOpen or NoPackage; blocks."""
    plain = _dearmored(content)
    kinds = _recipients(plain)
    age = library()
    if not identities.known:
        raise NotForUs(f"it is encrypted with age, and {identities.in_words()}")
    try:
        return bytes(age.decrypt(plain, [each.key for each in identities.known]))
    except age.DecryptError as error:
        if "matching" in str(error):
            raise NotForUs(_not_for_us(kinds, identities)) from None
        raise CannotOpen(_CUT_SHORT) from None


def recipients_of(content: bytes) -> tuple[str, ...]:
    """Return each recipient as far as the file names it: by its type, a key of ssh also by a tag. Raises CannotOpen."""
    return tuple(
        f"{kind} (tag {rest.split(' ')[0]})" if kind.startswith("ssh-") else f"{kind}, which age does not name"
        for kind, _, rest in (stanza.partition(" ") for stanza in _stanzas(_dearmored(content)))
    )


def _dearmored(content: bytes) -> bytes:
    text = content.strip()
    if not text.startswith(_BEGIN):
        return content
    if not text.endswith(_END):
        raise CannotOpen(_CUT_SHORT)
    try:
        return base64.b64decode(b"".join(text[len(_BEGIN) : -len(_END)].split()), validate=True)
    except binascii.Error:
        raise CannotOpen(_CUT_SHORT) from None


def _recipients(content: bytes) -> Counter[str]:
    """Return how many recipients of each type the header has. Raises CannotOpen for one that is not to be tried."""
    lines = _stanzas(content)
    kinds = Counter(line.partition(" ")[0] for line in lines)
    if "scrypt" in kinds:
        raise CannotOpen("it is encrypted with a passphrase; encrypt it to a recipient, such as age1…")
    named = Counter(tuple(line.split(" ")[:2]) for line in lines if line.startswith("ssh-"))
    if any(times > _MOST_OF_ONE_KEY for times in named.values()):
        raise CannotOpen("its header names one key of ssh again and again; encrypt it again")
    return kinds


def _stanzas(content: bytes) -> list[str]:
    """Return the first line of each recipient of a header, without the noise that some programs add."""
    if not content.startswith(_VERSION):
        first = content[:64].partition(b"\n")
        is_other = first[1] and content.startswith(b"age-encryption.org/")
        raise CannotOpen("it has a format of age that is not supported: expected v1" if is_other else _CUT_SHORT)
    end = content.find(b"\n--- ")
    stanzas = content.count(b"\n-> ", 0, end if end >= 0 else None)
    if stanzas > MOST_RECIPIENTS:
        raise CannotOpen(f"it is encrypted to more than {MOST_RECIPIENTS} recipients")
    if end < 0:
        raise CannotOpen(_CUT_SHORT)
    lines = [line[3:].decode("ascii", "replace") for line in content[:end].split(b"\n") if line.startswith(b"-> ")]
    return [line for line in lines if not line.partition(" ")[0].endswith("-grease")]


def _not_for_us(kinds: Counter[str], identities: Identities) -> str:
    number = sum(kinds.values())
    listed = ", ".join(kind if kind.isprintable() and len(kind) < 40 else "unknown" for kind in sorted(kinds)[:5])
    whom = f"{number} recipient{'s' if number != 1 else ''} ({listed})"
    also = f"; {'; '.join(identities.problems)}" if identities.problems else ""
    which = "which is not" if number == 1 else "none of which is"
    return f"it is encrypted to {whom}, {which} this host's {identities.recipients()}; encrypt it to that, too{also}"


class BadRecipient(ValueError):
    """Nothing can be encrypted to it; says why."""


def sealed(content: bytes, recipients: Iterable[str]) -> bytes:
    """Encrypt to recipients, as armored text. Raises BadRecipient or NoPackage; blocks."""
    age = library()
    found = []
    for each in recipients:
        kind = age.ssh if each.startswith("ssh-") else age.x25519
        try:
            found.append(kind.Recipient.from_str(each))
        except age.RecipientError:
            raise BadRecipient(f"'{each}' is no recipient; expected age1… or a public key of ssh") from None
    return bytes(age.encrypt(content, found, armored=True))
