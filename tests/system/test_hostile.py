"""The sample that tries what no app should do: isolated, all of it is refused to it; without, most gets through."""

import os
import shutil
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from urllib.parse import urlencode

import pytest

from reconciler.host.network_kernel import filters
from tests.support.ports import a_port
from tests.support.probe_of_isolation import LACKS, NO_USERS
from tests.support.site import REPOSITORY, Site, get

pytestmark = [pytest.mark.system, pytest.mark.skipif(bool(LACKS), reason=f"no files of its own here: {LACKS}")]

_TRIES = 70
_ADMIN = ("127.0.0.1", 2019)
# What rules of the kernel alone refuse, which take a kernel that has some, and users to know apps by.
_BY_RULES = {
    "connect to a neighbour",
    "connect to a neighbour by version 6",
    "connect to a neighbour by sending",
    "connect to the admin port of a proxy",
    "send to the admin port of a proxy",
    "connect to the metadata of a cloud",
    "send to the metadata of a cloud",
    "send to the metadata of a cloud by version 6",
}


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[str]:
    """The name of a socket that another listens at; one does at the admin port of a proxy, too."""
    with ExitStack() as opened:
        named = opened.enter_context(socket.socket(socket.AF_UNIX))
        named.bind(f"\0{tmp_path}")
        named.listen()
        with suppress(OSError):  # one listens there by now
            opened.enter_context(socket.create_server(_ADMIN))
        yield str(tmp_path)


def tried(
    site: Site, isolation: str, beside: Path, named: str
) -> tuple[dict[str, bool], Callable[[], dict[str, bool]]]:
    """Return whether each try got through, by its name; and what tries them again."""
    other, port = site.app("other"), a_port()
    shutil.copytree(REPOSITORY / "examples/hostile", site.root / "apps/hostile")
    site.manifest("hostile", port=port, isolation=isolation)
    site.live()
    site.await_settled("hostile", "other")
    facts = {
        "state": str(site.state),
        "victim": "other",
        "victim_pid": site.pid("other"),
        "victim_port": other,
        "daemon_pid": os.getpid(),  # a process outside, of the same user
        "file": str(beside),
        "socket": named,
    }

    def ask() -> dict[str, bool]:
        lines = [line.partition("  ") for line in get(port, f"/?{urlencode(facts)}").splitlines()]
        assert get(other) == "1"
        assert len(lines) == _TRIES
        return {name: said == "THROUGH" for said, _, name in lines}

    return ask(), ask


def test_seventy_of_seventy_tries_are_refused_to_an_isolated_app(site: Site, tmp_path: Path, listening: str) -> None:
    (tmp_path / "of-another").write_text("secret")
    found, ask = tried(site, "strict", tmp_path / "of-another", listening)
    let_through = set() if not NO_USERS and filters(site.paths, range(70_000, 80_000)) else _BY_RULES
    assert [name for name, through in found.items() if through and name not in let_through] == []
    if NO_USERS:  # which alone may be forked
        return
    executed = site.pid("hostile")
    os.kill(executed, signal.SIGKILL)
    site.await_successor("hostile", executed)  # forked, unless the host is so busy that no fork server is ready
    assert [name for name, through in ask().items() if through and name not in let_through] == []


def test_without_isolation_it_could_do_to_others_what_it_tries(site: Site, tmp_path: Path, listening: str) -> None:
    (tmp_path / "of-another").write_text("secret")
    found, _ = tried(site, "none", tmp_path / "of-another", listening)
    theirs = [name for name in found if "neighbour" in name or "daemon" in name or "state" in name]
    through = [name for name in found if found[name]]
    assert len(set(theirs) & set(through)) > len(theirs) / 2, found
    assert {"change the state database", "take the port of a neighbour", "signal the daemon"} <= set(through)
    to_others = {each for each in _BY_RULES if "cloud" not in each}  # to which this host may have no way
    assert {*to_others, "connect to a socket of a neighbour by its name"} <= set(through)
