"""Confine a process that goes on with the memory it has: one that a fork server forked, before any code of its app.

What is loaded here runs in every CPython from 3.8 on.
"""

import os
import sys

from reconciler.isolation.confine import Beginning, confine
from reconciler.isolation.fence import Held
from reconciler.isolation.main import LOG_VARIABLE, given_by, prove
from reconciler.isolation.main import open_log as log_of
from reconciler.isolation.refused_calls import refusals
from reconciler.isolation.view_maker import ViewMaker
from reconciler.linux.kernel_calls import address_of, prctl
from reconciler.linux.open_numbers import close_from
from reconciler.linux.privileges import SETPCAP, drop_bounding_set, may

TYPE_CHECKING = False  # as that of `typing`
if TYPE_CHECKING:
    from reconciler.planning.isolation.confinement import Confinement

_SET_DUMPABLE = 4  # linux/prctl.h


class InPlace:
    """What confines the processes that this one forks, made before as far as it is the same for each app."""

    def __init__(self) -> None:
        self._maker, self._held = ViewMaker(), Held()
        self._arguments: list[str] = []
        self._given = given_by([])
        for connects in (True, False):
            try:
                address_of(refusals(os.uname().machine, connects=connects))
            except KeyError:  # told by each process that confines itself
                break
        bounds = may(SETPCAP)
        if bounds:  # for all that it forks, and it executes nothing itself
            drop_bounding_set()
        self._begun = Beginning(self._held, is_bounded=bounds)
        address_of(bytes(4))  # of that size, too, there is a type by then

    def hide(self, packages: str) -> None:
        """Leave nothing of ours, which is in that directory, for an app to find by name."""
        sys.path.remove(packages)
        for name in [name for name in sys.modules if name.partition(".")[0] == "reconciler"]:
            del sys.modules[name]
        for path in [path for path in sys.path_importer_cache if path.startswith(packages)]:
            del sys.path_importer_cache[path]

    def renew(self) -> None:
        """See to it that the next process gets its view made, or else finds what the system is by now."""
        if self._maker.renew():
            self._held.close()
        else:
            self._held.renew()

    def open_log(self, arguments: "list[str]", at: int) -> "list[bytes]":
        """Open the access log of a confinement, as that descriptor; return the variables that say so."""
        self._arguments, self._given = arguments, given_by(arguments)
        opened = log_of(self._given)
        if opened is None:
            return []
        if opened != at:
            os.dup2(opened, at)
            os.close(opened)
        return [f"{LOG_VARIABLE}={at}".encode()]

    def confine_here(self, report: int, first: int, *, is_inside: bool) -> None:
        """Confine this process as that says, and tell the proof by a descriptor; end it if that fails.

        It may be inside its control group of version 2. Of the descriptors from `first` on, none is the app's but that
        of its access log, the next one.
        """
        kept = {report, first + 1} if self._given.access_log else {report}
        close_from(first, kept | self._maker.numbers | set(self._held.numbers))

        def confined(given: "Confinement") -> str:
            self._begun.is_inside = is_inside
            self._begun.asked = self._maker.ask(self._arguments) if given.isolation == "strict" else None
            return confine(given, self._begun)

        try:
            prove(self._given, report, confined)
        except SystemExit as end:
            os._exit(int(str(end.code)))
        self._maker.close()
        self._held.close()
        os.close(report)
        # Becoming another user has taken its own files of /proc from it, which a program that is executed gets back.
        prctl(_SET_DUMPABLE, 1)
