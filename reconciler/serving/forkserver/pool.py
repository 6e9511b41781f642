"""The templates of this host: each started when its kind is first asked for, kept while it is of use, then ended."""

import asyncio
import contextlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from reconciler.linux.processes import Command, Process
from reconciler.serving.forkserver.client import ForkServer
from reconciler.serving.forkserver.eligibility import ForkKind, NotForkable


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """How many templates there are, and what they hold of the host's memory: their proportional share, in bytes."""

    count: int
    pss_bytes: int


class ForkServerPool:
    """Forks from the template of a kind, starting it where there is none.

    One that does not answer within `answer_s` is ended. So is one that was of no use for `idle_s`, but never while
    instances of it live: until then it shares its pages with them and costs little.
    """

    def __init__(self, *, log: Path, idle_s: float, answer_s: float) -> None:
        self._log = log
        self._answer_s = answer_s
        self._idle_s = idle_s
        self._known: dict[ForkKind, ForkServer] = {}

    async def fork(self, kind: ForkKind, command: Command, ended: Callable[[], None]) -> Process:
        """An instance forked from the kind's template; raises NotForked, and then the next one may well succeed."""
        template = self._known.get(kind)
        if template is None:
            self._start(kind, command.argv[0])
            raise NotForkable("its template is only being started")
        if template.env.get("LANG") != command.env.get("LANG"):
            raise NotForkable("it asks for a language of its own")
        return await template.fork(command, self._answer_s, ended)

    def end_idle(self) -> None:
        """End what has been of no use for long."""
        now = asyncio.get_running_loop().time()
        for template in list(self._known.values()):
            if template.alive <= 0 and now - template.used_at >= self._idle_s:
                self._end(template)

    def footprint(self) -> Footprint:
        """What the templates cost now."""
        pids = [template.process.pid for template in self._known.values() if template.process.end is None]
        return Footprint(count=len(pids), pss_bytes=sum(_pss_bytes(pid) for pid in pids))

    def close(self) -> None:
        """End them all; the instances go on."""
        for template in self._known.values():
            template.forget()
        self._known.clear()

    def _start(self, kind: ForkKind, python: str) -> None:
        self._log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            self._known[kind] = ForkServer(kind, python, env=_env(python), log=self._log, ended=self._gone)
        except OSError as error:
            raise NotForkable(f"its template cannot be started: {error.strerror}") from error

    def _end(self, template: ForkServer) -> None:
        self._known.pop(template.kind, None)
        template.close()

    def _gone(self, template: ForkServer) -> None:
        """One that was never fit is remembered until it would have ended anyway, so that it is not tried each time."""
        if template.unfit is None and self._known.get(template.kind) is template:
            del self._known[template.kind]


def _env(python: str) -> Mapping[str, str]:
    """What an interpreter reads when it starts is the same as in the environment of an instance."""
    return {
        "LANG": os.environ.get("LANG", "C.UTF-8"),
        "PATH": f"{Path(python).parent}:/usr/local/bin:/usr/bin:/bin",
        "PYTHONUNBUFFERED": "1",
    }


def _pss_bytes(pid: int) -> int:
    with contextlib.suppress(OSError, ValueError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0
