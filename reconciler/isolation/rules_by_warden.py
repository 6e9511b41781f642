"""Have the warden give the kernel the rules of where apps may connect, for a daemon that is not root.

The daemon's loop waits for the answers: a warden that hangs is left alone for a while.
"""

import errno
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from reconciler.isolation import rule_requests
from reconciler.isolation.rule_requests import BUILDS, HOLDS, PART
from reconciler.isolation.warden import place_of_rules
from reconciler.linux.dataclass import dataclass
from reconciler.linux.filter_table import Table

_ANSWER_S = 2.0
_LEFT_ALONE_S = 30.0
_LONGEST_ANSWER = 4096


@dataclass()
class _Silence:
    """Until when a warden is left alone that did not answer in time, in seconds of the monotonic clock."""

    until: float = 0.0

    @contextmanager
    def minded(self) -> Iterator[None]:
        """Ask nothing of it until then. Raises OSError where it does not answer, or has not just now."""
        if time.monotonic() < self.until:
            raise OSError(errno.ETIMEDOUT, _SILENT)
        try:
            yield
        except TimeoutError:
            self.until = time.monotonic() + _LEFT_ALONE_S
            raise OSError(errno.ETIMEDOUT, _SILENT) from None


_SILENT = "the warden does not answer"
_silence = _Silence()


class RulesByWarden:
    """The kernel's tables of packet filter rules, as the warden gives them; the name of one is an id, as it has it.

    Every method raises OSError, as where no warden answers.
    """

    def generation(self) -> int:
        """Return a number that is another one once any table of this network has been changed."""
        return int(_told(do="generation"))

    def mark_of(self, table: str) -> tuple[str, int]:
        """Return the mark that a table was made with, and the checksum of what it has by now; "" and 0 without one."""
        mark, found = _told(do="mark", id=table)
        return str(mark), int(found)

    def replace(self, name: str, table: Table, mark: str) -> None:
        """Replace the table of a name by this one, or remove it if there is nothing in it."""
        _told(do="replace", id=name, table=table, mark=mark)

    def change(self, name: str, before: Table, after: Table, mark: str, *, renew: bool = False) -> None:
        """Make one table of another that is fixed in the same way."""
        _told(do="change", id=name, before=before, after=after, mark=mark, renew=renew)

    def take(self, name: str) -> bool:
        """Have the warden take over a table of a former one; return whether it owns it."""
        return bool(_told(do="take", id=name))

    def watch(self) -> socket.socket:
        """Return a socket that is readable whenever a table of this network has been changed, and at its end."""
        with _silence.minded():
            connection = _connected()
            try:
                _ask(connection, {"do": "watch"})
                connection.setblocking(False)
            except BaseException:
                connection.close()
                raise
        return connection

    def drain(self, watch: socket.socket) -> bool:
        """Take what the warden has said on that socket; return whether it goes on to."""
        try:
            while watch.recv(PART):
                pass
        except BlockingIOError:
            return True
        return False


def can_be_asked() -> bool:
    """Whether a warden listens that gives rules."""
    with suppress(OSError), _silence.minded():
        _connected().close()
        return True
    return False


def holds_builds() -> bool:
    """Whether a warden answers whose rules hold what builds apps: one of an earlier version knows no such request."""
    with suppress(OSError):
        return BUILDS in _told(do=HOLDS)
    return False


def _told(**request: Any) -> Any:
    """Return what a warden says to a request. Raises OSError."""
    with _silence.minded(), _connected() as connection:
        return _ask(connection, request)


def _ask(connection: socket.socket, request: dict[str, Any]) -> Any:
    """Return the answer to a request. Raises OSError."""
    text = written(request)
    try:
        for at in range(0, len(text), PART):
            connection.send(text[at : at + PART])
        connection.shutdown(socket.SHUT_WR)
        answer = rule_requests.read(connection.recv(_LONGEST_ANSWER))
    except ValueError:
        raise OSError(errno.EPIPE, "the warden ended before it answered") from None
    if "error" in answer:
        raise OSError(answer["error"], f"the warden refuses: {answer.get('why')}")
    return answer.get("is")


def written(request: dict[str, Any]) -> bytes:
    """Write a request; a table in it is written as what `rule_requests.table_of` reads."""
    return json.dumps(request, default=_as_data).encode()


def _as_data(table: Table) -> dict[str, Any]:
    return {
        "chains": [
            {"user": each.user, "allowed": each.allowed, "never": each.never, "builds": each.builds}
            for each in table.chains
        ],
        "others": sorted(table.others),
        "builders": sorted(table.builders),
        "listeners": sorted(table.listeners),
        "places": sorted(table.places),
        "own": sorted(table.own),
        "closed": table.closed,
        "beyond": table.beyond,
        "never": table.never,
    }


def _connected() -> socket.socket:
    place = Path(place_of_rules())
    if not place.exists():  # most hosts have no warden
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(place))
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        connection.settimeout(_ANSWER_S)
        connection.connect(str(place))
    except BaseException:
        connection.close()
        raise
    return connection
