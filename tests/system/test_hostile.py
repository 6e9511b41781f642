"""The sample that tries what no app should do: isolated, all of it is refused to it; without, most gets through."""

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.support.ports import a_port
from tests.support.probe_of_isolation import LACKS, NO_USERS
from tests.support.site import REPOSITORY, Site, get

pytestmark = [pytest.mark.system, pytest.mark.skipif(bool(LACKS), reason=f"no files of its own here: {LACKS}")]

_TRIES = 60


def tried(site: Site, isolation: str, beside: Path) -> tuple[dict[str, bool], Callable[[], dict[str, bool]]]:
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
    }

    def ask() -> dict[str, bool]:
        lines = [line.partition("  ") for line in get(port, f"/?{urlencode(facts)}").splitlines()]
        assert get(other) == "1"
        assert len(lines) == _TRIES
        return {name: said == "THROUGH" for said, _, name in lines}

    return ask(), ask


def test_sixty_of_sixty_tries_are_refused_to_an_isolated_app(site: Site, tmp_path: Path) -> None:
    (tmp_path / "of-another").write_text("secret")
    found, ask = tried(site, "strict", tmp_path / "of-another")
    assert [name for name, through in found.items() if through] == []
    if NO_USERS:  # which alone may be forked
        return
    executed = site.pid("hostile")
    os.kill(executed, signal.SIGKILL)
    site.await_successor("hostile", executed)  # forked, unless the host is so busy that no fork server is ready
    assert [name for name, through in ask().items() if through] == []


def test_without_isolation_it_could_do_to_others_what_it_tries(site: Site, tmp_path: Path) -> None:
    (tmp_path / "of-another").write_text("secret")
    found, _ = tried(site, "none", tmp_path / "of-another")
    theirs = [name for name in found if "neighbour" in name or "daemon" in name or "state" in name]
    through = [name for name in theirs if found[name]]
    assert len(through) > len(theirs) / 2, found
    assert {"change the state database", "take the port of a neighbour", "signal the daemon"} <= set(through)
