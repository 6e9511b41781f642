"""Random stories for `wait`: what a user saved, what became of the daemon, and which exit codes are the truth then."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.support.site import Site

# The app answers this, so that a client can tell which content serves.
_ANSWER = "    return [b'{version}']\n"
_SOURCE = "def application(environ, start_response):\n    start_response('200 OK', [])\n"
_DIES_SOON = "import os, threading\nthreading.Timer(0.2, os._exit, (7,)).start()\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """What is saved: a source, a manifest, or both. `told` is part of the reason why it cannot work, "" if it can."""

    name: str
    source: str = _SOURCE + _ANSWER
    fields: Mapping[str, Any] | None = None
    text: str | None = None
    told: str = ""

    def save(self, site: Site, app: str, version: str) -> None:
        """Write the source whole, then the manifest."""
        site.save(site.root / "apps" / app / "wsgi.py", self.source.replace("{version}", version))
        if self.text is not None:
            site.save(site.manifests / f"{app}.yaml", self.text.replace("{app}", app))
        else:
            site.manifest(app, probation="500ms", **(self.fields or {}))


GOOD: Sequence[Edit] = (
    Edit(name="the source is another one"),
    Edit(name="a variable is added", fields={"env": {"A": "1"}}),
    Edit(name="two workers", fields={"workers": 2}),
    Edit(name="a release command that works", fields={"release": "true"}),
    Edit(name="it may sleep", fields={"idle_after": "10m"}),
    Edit(name="a health path", fields={"health": {"path": "/"}}),
)
BAD: Sequence[Edit] = (
    Edit(name="it raises", source="raise RuntimeError('boom')\n" + _SOURCE + _ANSWER, told="RuntimeError: boom"),
    Edit(name="a syntax error", source="def application(:\n", told="SyntaxError"),
    Edit(name="no entry point", source="x = 1\n", told="entry"),
    Edit(name="an unknown field", text="path: ../apps/{app}\nworkes: 2\n", told=".yaml:2:1: workes: unknown field"),
    Edit(name="no YAML", text="path: [\n", told=".yaml:"),
    Edit(name="no such source", fields={"path": "../apps/nope"}, told="cannot read the source"),
    Edit(name="a release command that fails", fields={"release": "exit 3"}, told="release"),
    Edit(
        name="it exits while it is imported",
        source="import os\nos._exit(3)\n" + _SOURCE + _ANSWER,
        told=" exited with 3",
    ),
    Edit(name="it exits on probation", source=_DIES_SOON + _SOURCE + _ANSWER, told="exited with 7 on probation"),
    Edit(name="health fails", fields={"health": {"path": "/", "host": "x", "start_timeout": "1s"}},
         source=_SOURCE.replace("200 OK", "500 Oh") + _ANSWER, told=" failed: "),
    Edit(name="an unknown app", fields={"depends_on": ["nope"]}, told="nope"),
    Edit(name="an impossible port", fields={"port": 99999}, told="expected a port between"),
)  # fmt: skip
# When the daemon is killed and whether it comes back: an exit code of 3 is the truth only of one that does not.
FATES: Sequence[str] = ("lives",) * 5 + ("killed before", "killed meanwhile", "killed for good", "killed twice")


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """One edit and one fate of the daemon."""

    edit: Edit
    fate: str
    after_s: float

    def __str__(self) -> str:
        return f"{self.edit.name}; the daemon {self.fate}"


def stories(seed: int, number: int) -> list[Story]:
    """Return random stories, of which half are bad edits."""
    chance = random.Random(seed)
    return [
        Story(
            edit=chance.choice(chance.choice((GOOD, BAD))),
            fate=chance.choice(FATES),
            after_s=chance.choice((0.0, 0.05, 0.2, 0.5, 1.0)),
        )
        for _ in range(number)
    ]
