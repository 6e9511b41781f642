"""A desired service: everything in its manifest, as one value that compares by content."""

import re
from collections.abc import Mapping
from dataclasses import field

from reconciler.linux.dataclass import dataclass
from reconciler.planning.fingerprint import Json

_UNFIT = re.compile(r"[^a-z0-9.-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupSchedule:
    """How often a service is backed up, in seconds, and how many of these backups are kept."""

    every_s: float
    keep: int = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One desired backing service. `asked` holds the fields that only its type has, with absolute paths.

    `server` is a server of the host's settings; `grace_s` is how long its data outlives the manifest when `retain` is
    False. `backup` is None for a service that is backed up only by hand.
    """

    name: str
    manifest: str
    type: str
    plan: str = "free"
    label: str = ""
    tags: tuple[str, ...] = ()
    retain: bool = True
    server: str | None = None
    grace_s: float | None = None
    backup: BackupSchedule | None = None
    asked: Mapping[str, Json] = field(default_factory=dict, repr=False)


def directory_of(binding: str) -> str:
    """Return the name of a binding's directory, of lowercase letters, digits, dots and hyphens, as servicebinding.io
    has it.
    """
    return _UNFIT.sub("-", binding.lower()).strip("-.") or "binding"
