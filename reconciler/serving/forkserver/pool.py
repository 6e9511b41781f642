"""The fork servers of this host: each starts with the first instance of its kind, and ends once it is idle."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

from reconciler.linux.dataclass import dataclass
from reconciler.linux.error_words import in_words
from reconciler.linux.package_files import package_directory
from reconciler.linux.process_table import family, proportional
from reconciler.linux.processes import Command
from reconciler.serving.forkserver.ahead import Begun, remember
from reconciler.serving.forkserver.client import Forked, ForkServer
from reconciler.serving.forkserver.eligibility import ForkKind, NotForkable
from reconciler.serving.forkserver.proved import made_environment
from reconciler.state.paths import StatePaths


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """The number of fork servers, and the proportional share of the host's memory that they have, in bytes."""

    count: int
    pss_bytes: int


class ForkServerPool:
    """The fork servers by kind.

    One that does not answer within `answer_s` is ended. So is one that forked nothing for `idle_s`, but never while
    instances of it live: until then it shares its pages with them and costs little. The next daemon begins the one that
    most instances came from.
    """

    def __init__(self, paths: StatePaths, *, idle_s: float, answer_s: float) -> None:
        self._paths = paths
        self._answer_s = answer_s
        self._idle_s = idle_s
        self._begun: Begun | None = None
        self._remembered: ForkKind | None = None
        self._servers: dict[ForkKind, ForkServer] = {}

    def take(self, begun: Begun | None) -> None:
        """Use a fork server that was begun before, if it is of the first kind that is needed."""
        self._begun = begun

    async def fork(
        self, kind: ForkKind, command: Command, ended: Callable[[], None], confinement: Sequence[str] = ()
    ) -> Forked:
        """Fork an instance from the kind's fork server, started if there is none yet; confined by those arguments.

        Raises NotForkable; the next instance of that kind may well succeed.
        """
        server = self._servers.get(kind)
        if server is None:
            server = self._start(kind, command.argv[0])
            if server is None:
                raise NotForkable("its fork server is still starting")
        if server.env.get("LANG") != command.env.get("LANG"):
            raise NotForkable("it sets its own LANG")
        forked = await server.fork(command, self._answer_s, ended, confinement)
        self._remember(server)
        return forked

    def end_idle(self) -> None:
        """End every fork server that is idle."""
        now = asyncio.get_running_loop().time()
        for server in list(self._servers.values()):
            if server.alive <= 0 and now - server.used_at >= self._idle_s:
                self._end(server)
        self._give_up_begun()

    def footprint(self) -> Footprint:
        """Measure what the fork servers cost now."""
        pids = [server.process.pid for server in self._servers.values() if server.process.end is None]
        all_of_them = {each for pid in pids for each, _ in family(pid)}
        return Footprint(count=len(pids), pss_bytes=sum(map(proportional, all_of_them)))

    def close(self) -> None:
        """End them all; the instances keep running."""
        for server in self._servers.values():
            server.forget()
        self._servers.clear()
        self._give_up_begun()

    def _start(self, kind: ForkKind, python: str) -> ForkServer | None:
        """Start one, or take the one that was begun: that is returned, as it is ready by now or soon."""
        self._paths.fork_servers_log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        begun, self._begun = self._begun, None
        if begun is not None and not begun.is_of(kind):
            begun.connection.close()
            begun = None
        try:
            words: tuple[str, ...] = (python, kind.launcher, kind.module)
            if kind.for_isolated:
                own = made_environment(self._paths.fork_servers, kind, python)
                words = (own, *words[1:], str(package_directory("reconciler").parent), python)
            server = ForkServer(kind, words, log=self._paths.fork_servers_log, ended=self._gone, begun=begun)
        except OSError as error:
            raise NotForkable(f"its fork server cannot be started: {in_words(error)}") from error
        self._servers[kind] = server
        return None if begun is None else server

    def _give_up_begun(self) -> None:
        """Let the one that was begun end: what nothing needed until now is needed no sooner than any other."""
        if self._begun is not None:
            self._begun.connection.close()
            self._begun = None

    def _remember(self, server: ForkServer) -> None:
        """Write down the one that most instances came from, once it is another one; none of isolated apps."""
        is_new = server.kind != self._remembered and not server.kind.for_isolated
        if is_new and all(server.alive >= other.alive for other in self._servers.values()):
            self._remembered = server.kind
            with suppress(OSError):  # a full disk: the next daemon begins with none
                remember(self._paths, server.python, server.kind)

    def _end(self, server: ForkServer) -> None:
        self._servers.pop(server.kind, None)
        server.close()

    def _gone(self, server: ForkServer) -> None:
        """Forget one that ended, unless it was never fit: that is remembered as long as it would have lived."""
        if server.unfit is None and self._servers.get(server.kind) is server:
            del self._servers[server.kind]
