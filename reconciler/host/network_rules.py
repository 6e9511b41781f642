"""Hold apps to where they may connect, by rules of the kernel that know the user of each.

One table has the rules of this state directory. It is replaced as a whole, or its sets are changed where that is all;
it stays when the daemon ends, as apps do.
It is looked at whenever any table of this host changes, and names are looked up again each minute.
"""

import asyncio
import socket
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from reconciler.host import network_memory
from reconciler.host.network_kernel import Kernel
from reconciler.host.network_memory import Held
from reconciler.host.network_names import WITHIN_S, Names, resolvers
from reconciler.host.network_table import described, table_of
from reconciler.linux import nftables
from reconciler.linux.error_words import in_words
from reconciler.linux.files import replace_file
from reconciler.linux.filter_table import Table, checksum
from reconciler.planning.fingerprint import fingerprint
from reconciler.planning.isolation.destinations import Destination, names_in

_LOOK_UP_EVERY_S = 60.0
_SETTLES_S = 0.2
_AGAIN_S = 5.0
_MARKS = 32  # that a table gathers at most


class NetworkRules:
    """The rules of one state directory, whose table has the name `table`, as the `kernel` knows it.

    `tell` is told what an operator has to know. `memory` is a file that is there while there may be a table, and says
    what was wanted of it. `building` returns the users of what builds apps.
    """

    def __init__(
        self,
        table: str,
        memory: Path,
        tell: Callable[[str], None],
        *,
        resolve: Callable[[str], Iterable[str]],
        kernel: Kernel = nftables,
    ) -> None:
        self._table = table
        self._kernel = kernel
        self.building: Callable[[], frozenset[int]] = frozenset
        self._watch: socket.socket | None = None
        self._memory = memory
        self._remembered = ""
        self._tell = tell
        self._wanted: dict[str, Held] = {}
        self._apps: frozenset[Destination] = frozenset()
        self.former, addresses = network_memory.read(memory)
        self._names = Names(resolve, tell, addresses)
        self._applied, self._table_there = "", Table()
        self._generation = self._changes = 0
        self._problem = ""
        self._is_settling = self._has_changed = False
        self._changed, self._looked = asyncio.Event(), asyncio.Event()

    def want(self, wanted: Mapping[str, Held], apps: frozenset[Destination] = frozenset()) -> None:
        """Hold these apps from now on, each by its user, and no others; `apps` is where any app of this host listens.

        Names follow a moment later.
        """
        if dict(wanted) != self._wanted or apps != self._apps:
            self._wanted, self._apps = dict(wanted), apps
            self._looked.clear()
            self._changed.set()

    def admit(self, app: str, held: Held) -> None:
        """Hold an app that is about to start, at once. Raises OSError if the kernel refuses the rules."""
        if self._wanted.get(app) == held and self._has_it_all():
            return
        if self._wanted.get(app) != held:
            self._wanted[app] = held
            self._looked.clear()
            self._changed.set()
        try:
            self._apply()
        except OSError as error:
            message = f"cannot give the kernel the rules for network.connect: {in_words(error)}"
            raise OSError(error.errno, message) from error

    def _has_it_all(self) -> bool:
        """Whether the kernel was given what is wanted, and no table has been changed since: asked at each start."""
        if not self._applied or self._problem or self._changed.is_set():
            return False
        if self._table_there.building != self.building():
            return False
        with suppress(OSError):
            return self._kernel.generation() == self._generation
        return False

    async def looked_up(self) -> None:
        """Wait until the names of all that is wanted have been looked up, a few seconds at most."""
        with suppress(TimeoutError):
            async with asyncio.timeout(WITHIN_S):
                await self._looked.wait()

    def apply(self) -> None:
        """Give the kernel what is wanted, now; nothing removes every rule. Raises OSError."""
        self._apply()

    async def run(self, look: Callable[[], None]) -> None:
        """Keep the rules until cancelled; return once there are none, and nothing wants any.

        `look` is called now and then, to say with `want` what is wanted by then.
        """
        try:
            while await self._keep():
                look()
        finally:
            self._stop_watching()

    def _watch_tables(self) -> None:
        """Be told of changes of tables from here on, if that is not so. Raises OSError."""
        if self._watch is None:
            self._watch = self._kernel.watch()
            if self._applied:
                self._kernel.take(self._table)
            asyncio.get_running_loop().add_reader(self._watch, self._on_table_change, self._watch)

    def _stop_watching(self) -> None:
        if self._watch is not None:
            asyncio.get_running_loop().remove_reader(self._watch)
            self._watch.close()
            self._watch = None

    async def _keep(self) -> bool:
        """Look up and apply once, and wait for the next time; return whether there is one."""
        self._changed.clear()
        self._give()  # names may take a while
        names = [names_in((*(held.places or ()), *held.of_builds)) for held in self._wanted.values()]
        if any(names):
            await self._names.look_up(names)
            self._give()
        if not self._changed.is_set():
            self._looked.set()
            if not self._wanted and not self._problem:
                return False
        with suppress(TimeoutError):
            async with asyncio.timeout(_AGAIN_S if self._problem else _LOOK_UP_EVERY_S):
                await self._changed.wait()
        return True

    def _give(self) -> None:
        """Give the kernel what is wanted; tell the operator if it does not take that, once."""
        was = self._problem
        try:
            self._watch_tables()
            self._apply()
            self._problem = ""
        except OSError as error:
            self._problem = f"cannot give the kernel the rules for network.connect: {in_words(error)}; tried again soon"
        if self._problem and self._problem != was:
            self._tell(self._problem)

    def _on_table_change(self, watch: socket.socket) -> None:
        """Look at once, as rules may be gone, and again once what changes many tables in a row has come to an end."""
        if not self._kernel.drain(watch):
            self._stop_watching()
            self._changed.set()
        self._has_changed = True
        if not self._is_settling:
            self._look_at_table()

    def _look_at_table(self) -> None:
        self._is_settling, self._has_changed = True, False
        asyncio.get_running_loop().call_later(_SETTLES_S, self._settled)
        try:
            if self._apply() and self._applied:
                self._tell("another program had changed the rules for network.connect: they are as they were")
        except OSError:
            self._changed.set()

    def _settled(self) -> None:
        self._is_settling = False
        if self._has_changed:
            self._look_at_table()

    def _apply(self) -> bool:
        """Give the kernel what is wanted, unless it has that; return whether it had not. Raises OSError."""
        if not self._wanted and not self._memory.exists():
            return False
        table = table_of(self._wanted.values(), self._names.addresses(), resolvers(), self._apps, self.building())
        mark = fingerprint(described(table)) if table else ""
        if self._wanted:
            self._remember()
        generation = self._kernel.generation()
        if mark == self._applied and generation == self._generation:
            return False
        is_whole = generation == self._generation or self._kernel.mark_of(self._table) == (
            self._applied, checksum(self._table_there)
        )  # fmt: skip
        changed = mark == self._applied and not is_whole
        replaced = (mark != self._applied or changed) and self._replace(table, mark, is_whole=is_whole)
        by_us = replaced and self._kernel.generation() == generation + 1  # what others do meanwhile is looked at again
        self._applied, self._table_there, self._generation = mark, table, generation + by_us
        if not self._wanted:
            self._remembered = ""
            self._memory.unlink(missing_ok=True)
        return changed

    def _replace(self, table: Table, mark: str, *, is_whole: bool) -> bool:
        """Give the kernel a table, by its differences if the one before `is_whole`; return False if it has it."""
        before = self._table_there
        if is_whole and before and table and before.fixed == table.fixed:
            with suppress(OSError):  # it is another one by now
                self._changes += 1
                self._kernel.change(self._table, before, table, mark, renew=self._changes % _MARKS == 0)
                return True
        is_there = not before and self._kernel.mark_of(self._table) == (mark, checksum(table))
        if is_there and self._kernel.take(self._table):
            return False
        self._kernel.replace(self._table, table, mark)
        return True

    def _remember(self) -> None:
        """Have the next daemon know what is wanted. Raises OSError where it could not even know of a table."""
        text = network_memory.written(self._wanted, self._names.addresses())
        if text == self._remembered:
            return
        try:
            replace_file(self._memory, text, durable=False)  # what runs is gone after a power cut
            self._remembered = text
        except OSError:
            if not self._memory.exists():
                raise
