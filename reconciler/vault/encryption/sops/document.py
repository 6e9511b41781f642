"""Open a document of SOPS with this host's identities: its data key first, then its values."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from reconciler.linux.dataclass import dataclass
from reconciler.vault.encryption import age
from reconciler.vault.encryption.age import CannotOpen, NotForUs
from reconciler.vault.encryption.identities import Identities, library, shortened
from reconciler.vault.encryption.sops import values
from reconciler.vault.encryption.sops.formats import Format, Tree, read, written

_MOST_RECIPIENTS = 1000
_MOST_SHOWN = 3
_MOST_TRIES = 16
# Where else SOPS puts a data key: its name in the metadata, the field that says which key, and its name for people.
_OTHERS = (
    ("pgp", "fp", "PGP"), ("kms", "arn", "AWS KMS"), ("gcp_kms", "resource_id", "GCP KMS"),
    ("azure_kv", "name", "Azure Key Vault"), ("hc_vault", "key_name", "Vault"), ("hckms", "key_id", "Huawei KMS"),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class _Recipient:
    """One that age encrypted the data key to."""

    name: str
    sealed: str


def opened(name: str, text: str, identities: Identities) -> tuple[bytes, Format, list[Tree]]:
    """Return a document decrypted, as text and as trees, and its format. Raises CannotOpen or NoPackage; blocks."""
    form, sealed, metadata = read(name, text)
    trees = values.opened(sealed, metadata, _data_key(metadata, identities))
    return written(form, trees), form, trees


def recipients_of(name: str, text: str) -> tuple[str, ...]:
    """Return to whom a document is encrypted, in words. Raises CannotOpen."""
    _, _, metadata = read(name, text)
    return tuple(_in_words(metadata))


def _data_key(metadata: Mapping[str, Any], identities: Identities) -> bytes:
    groups = _listed(metadata.get("key_groups"))
    if len(groups) > 1:
        raise NotForUs("its data key is split over several groups of keys; name a program in 'git.open' that opens it")
    given = [*_of_age(metadata), *(each for group in groups for each in _of_age(group))]
    if len(given) > _MOST_RECIPIENTS:
        raise CannotOpen(f"it is encrypted to more than {_MOST_RECIPIENTS} recipients")
    ours = {_comparable(each.recipient) for each in identities.known}
    fitting = [each for each in given if _comparable(each.name) in ours]
    for each in fitting[:_MOST_TRIES]:
        try:
            return age.opened(each.sealed.encode("utf-8", "replace"), identities)
        except NotForUs:
            continue
    library()
    also = f"; {'; '.join(identities.problems)}" if identities.known and identities.problems else ""
    whom = [*_in_words(metadata)]
    more = f" and {len(whom) - _MOST_SHOWN} more" if len(whom) > _MOST_SHOWN else ""
    listed = ", ".join(whom[:_MOST_SHOWN]) or "no recipient"
    remedy = f"; encrypt it to that, too{also}" if identities.known else ""
    raise NotForUs(f"it is encrypted to {listed}{more}, and {identities.in_words()}{remedy}")


def _of_age(metadata: Mapping[str, Any]) -> Iterator[_Recipient]:
    for entry in _listed(metadata.get("age")):
        yield _Recipient(name=str(entry.get("recipient", "")), sealed=str(entry.get("enc", "")))


def _in_words(metadata: Mapping[str, Any]) -> Iterator[str]:
    for part in (metadata, *_listed(metadata.get("key_groups"))):
        for each in _of_age(part):
            yield _plain(shortened(each.name))
        for name, which, kind in _OTHERS:
            yield from (_plain(f"{kind} {entry.get(which, '')}") for entry in _listed(part.get(name)))


def _plain(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)[:120]


def _comparable(recipient: str) -> str:
    """Return a recipient without the comment that keys of ssh end with."""
    return " ".join(recipient.split()[:2])


def _listed(value: Any) -> Sequence[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []
