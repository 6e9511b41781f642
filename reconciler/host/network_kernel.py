"""Choose what gives the kernel the rules of where apps connect: a daemon of root by itself, another by its warden."""

import os
import socket
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Protocol

from reconciler.isolation.app_namespace import has_users
from reconciler.isolation.rule_requests import name_of
from reconciler.isolation.rules_by_warden import RulesByWarden, can_be_asked, holds_builds
from reconciler.linux import nftables
from reconciler.linux.filter_table import Table
from reconciler.linux.privileges import NET_ADMIN, may
from reconciler.linux.user_namespaces import forbidden
from reconciler.state.lock import holder
from reconciler.state.paths import StatePaths
from reconciler.state.schema import state_id

EARLIER_WARDEN = "the warden is of an earlier version"
_TRIES, _AGAIN_S = 50, 0.02


class Kernel(Protocol):
    """The kernel's tables of rules. Everything raises OSError."""

    def generation(self) -> int:
        """Return a number that is another one once any table has been changed."""

    def mark_of(self, table: str, /) -> tuple[str, int]:
        """Return the mark that a table was made with, and the checksum of what it has by now."""

    def replace(self, name: str, table: Table, mark: str, /) -> None:
        """Replace the table of a name by this one, or remove it if there is nothing in it."""

    def change(self, name: str, before: Table, after: Table, mark: str, /, *, renew: bool) -> None:
        """Make one table of another that is fixed in the same way."""

    def take(self, name: str, /) -> bool:
        """Take over a table of a former daemon; return whether it is owned as far as it is to be."""

    def watch(self) -> socket.socket:
        """Return a socket that is readable whenever a table has been changed, and at the end of who tells of that."""

    def drain(self, watch: socket.socket, /) -> bool:
        """Take what has arrived on that socket; return whether more may come."""


def kernel_of(paths: StatePaths) -> tuple[Kernel, str]:
    """Return by what a state directory has rules, and the name that its table has there. Raises OSError."""
    identity, owner = state_id(paths.state), paths.state.stat().st_uid
    if os.geteuid() != 0:
        return RulesByWarden(), identity
    return nftables.OwnedTables(), name_of(owner, identity) if owner else f"reconciler-{identity}"


def filters(paths: StatePaths, users: range) -> bool:
    """Whether the daemon of a state directory can have such rules for the users of its apps."""
    return _filters_itself(paths.state) or _has_warden(paths, users)


def filters_builds(paths: StatePaths, users: range) -> bool:
    """Whether such rules hold what builds apps as well."""
    return _filters_itself(paths.state) or (_has_warden(paths, users) and holds_builds())


def remove_rules(paths: StatePaths) -> None:
    """Remove what is left of the rules of a state directory, of which nothing runs any more. Raises OSError."""
    if paths.network_rules.exists():
        kernel, name = kernel_of(paths)
        for left in reversed(range(_TRIES)):
            try:
                kernel.replace(name, Table(), "")
                break
            except PermissionError:  # the kernel is about to see that the daemon has ended
                if not left:
                    raise
                time.sleep(_AGAIN_S)
        paths.network_rules.unlink(missing_ok=True)


@cache
def _filters_itself(state: Path) -> bool:
    """Whether it does so by itself: it is root, and this kernel has nftables."""
    try:
        if os.geteuid() != 0 or state.stat().st_uid != 0 or not may(NET_ADMIN):
            return False
        nftables.mark_of("reconciler")
    except OSError:
        return False
    return True


def _has_warden(paths: StatePaths, users: range) -> bool:
    """Whether its warden does so."""
    with suppress(OSError):
        _require_warden(paths, users)
        return True
    return False


@cache
def _require_warden(paths: StatePaths, users: range) -> None:
    """Raise OSError unless its warden gives rules: once it has answered, what does not work is a problem to be told."""
    if paths.state.stat().st_uid == 0:
        raise PermissionError
    pid = holder(paths)
    if not can_be_asked() or forbidden() or not (pid is None or has_users(pid, users)):
        raise ConnectionRefusedError
