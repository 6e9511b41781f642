"""The fork servers of this host: each starts with the first instance of its kind, and ends once it is idle."""

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from reconciler.linux.process_table import proportional
from reconciler.linux.processes import Command, Process
from reconciler.serving.forkserver.client import ForkServer
from reconciler.serving.forkserver.eligibility import ForkKind, NotForkable
from reconciler.serving.forkserver.proved import made_environment
from reconciler.state.paths import StatePaths


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """The number of fork servers, and their proportional share of the host's memory in bytes."""

    count: int
    pss_bytes: int


class ForkServerPool:
    """The fork servers by kind.

    One that does not answer within `answer_s` is ended. So is one that forked nothing for `idle_s`, but never while
    instances of it live: until then it shares its pages with them and costs little.
    """

    def __init__(self, paths: StatePaths, *, idle_s: float, answer_s: float) -> None:
        self._log = paths.fork_servers_log
        self._environments = paths.fork_servers
        self._answer_s = answer_s
        self._idle_s = idle_s
        self._servers: dict[ForkKind, ForkServer] = {}

    async def fork(
        self, kind: ForkKind, command: Command, ended: Callable[[], None], confinement: Sequence[str] = ()
    ) -> Process:
        """Fork an instance from the kind's fork server, started if there is none yet; confined by those arguments.

        Raises NotForkable; the next instance of that kind may well succeed.
        """
        server = self._servers.get(kind)
        if server is None:
            self._start(kind, command.argv[0])
            raise NotForkable("its fork server is still starting")
        if server.env.get("LANG") != command.env.get("LANG"):
            raise NotForkable("it sets its own LANG")
        return await server.fork(command, self._answer_s, ended, confinement)

    def end_idle(self) -> None:
        """End every fork server that is idle."""
        now = asyncio.get_running_loop().time()
        for server in list(self._servers.values()):
            if server.alive <= 0 and now - server.used_at >= self._idle_s:
                self._end(server)

    def footprint(self) -> Footprint:
        """Measure what the fork servers cost now."""
        pids = [server.process.pid for server in self._servers.values() if server.process.end is None]
        return Footprint(count=len(pids), pss_bytes=sum(proportional(pid) for pid in pids))

    def close(self) -> None:
        """End them all; the instances keep running."""
        for server in self._servers.values():
            server.forget()
        self._servers.clear()

    def _start(self, kind: ForkKind, python: str) -> None:
        self._log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            python = made_environment(self._environments, kind, python) if kind.for_isolated else python
            self._servers[kind] = ForkServer(kind, python, env=_env(python), log=self._log, ended=self._gone)
        except OSError as error:
            raise NotForkable(f"its fork server cannot be started: {error.strerror}") from error

    def _end(self, server: ForkServer) -> None:
        self._servers.pop(server.kind, None)
        server.close()

    def _gone(self, server: ForkServer) -> None:
        """Forget one that ended, unless it was never fit: that is remembered as long as it would have lived."""
        if server.unfit is None and self._servers.get(server.kind) is server:
            del self._servers[server.kind]


def _env(python: str) -> Mapping[str, str]:
    """Return what an interpreter reads when it starts, the same as in the environment of an instance."""
    return {
        "LANG": os.environ.get("LANG", "C.UTF-8"),
        "PATH": f"{Path(python).parent}:/usr/local/bin:/usr/bin:/bin",
        "PYTHONUNBUFFERED": "1",
    }
