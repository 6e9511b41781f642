"""Remember an origin in git between two daemons: what was heard, decided and requested, each after it happened.

Which commit is in force is not among it: that is where the link `current` leads.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from reconciler.linux.files import replace_file
from reconciler.linux.regular_files import read_record
from reconciler.manifests.git.store import Head
from reconciler.planning.origins.observed import Pause, Verdict

_MOST = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Facts about one origin. `taken` is a commit that an operator confirmed, `refusals` those that one refused.

    `tag` and `accepted_tag` are the names of the tags that led to `head` and to `accepted`, the ids those of the tags.
    `returned` are the commits that were left again, each with why, and `failing` the revisions of apps that had failed
    before the commit in force took effect.

    `subjects` are the first lines of the messages of the commits that are named here.
    """

    head: str | None = None
    accepted: str | None = None
    good: str | None = None
    verdict: Verdict | None = None
    pause: Pause | None = None
    taken: str | None = None
    refusals: tuple[str, ...] = ()
    heard_at: float | None = None
    in_force_since: float | None = None
    signed_by: str = ""
    tag: str = ""
    tag_id: str = ""
    accepted_tag: str = ""
    accepted_tag_id: str = ""
    returned: Mapping[str, str] = field(default_factory=dict)
    failing: tuple[str, ...] = ()
    subjects: Mapping[str, str] = field(default_factory=dict)

    @property
    def accepted_head(self) -> Head | None:
        """The commit that was accepted, with the tag that led to it."""
        if self.accepted is None:
            return None
        return Head(commit=self.accepted, tag=self.accepted_tag, tag_id=self.accepted_tag_id)


def read(path: Path) -> Record:
    """Return what is remembered; nothing if it cannot be read, as what is in force says what was accepted."""
    with suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
        found: dict[str, Any] = read_record(path, _MOST)
        known = {each.name for each in fields(Record)}
        given = {name: value for name, value in found.items() if name in known}
        if given.get("verdict") is not None:
            given["verdict"] = Verdict(**given["verdict"])
        if given.get("pause") is not None:
            given["pause"] = Pause(**given["pause"])
        given |= {name: tuple(given.get(name, ())) for name in ("refusals", "failing")}
        return Record(**given)
    return Record()


def write(path: Path, record: Record) -> None:
    """Write down what is to be remembered, so that it survives a power cut. Raises OSError; blocks."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    replace_file(path, json.dumps(asdict(record), indent=1))
