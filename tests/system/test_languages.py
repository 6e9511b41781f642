"""Each language of `tests/support/programs.py`: fifty deploys, a kill and a bad release under load, and none lost.

Debian's packages bring the languages (`scripts/languages`); one that this host lacks is skipped by its name.
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support.eventually import eventually
from tests.support.fastcgi import page
from tests.support.load import Load, under_load
from tests.support.programs import EVERY, PYTHONS, Kind
from tests.support.site import Site

pytestmark = pytest.mark.nightly

DEPLOYS = 50


class FastCgiLoad(Load):
    """Requests to what speaks FastCGI in place of HTTP."""

    def one(self) -> str:
        try:
            self.bodies[page(self.port, "index.php")] += 1
        except ConnectionRefusedError:
            return "refused"
        except OSError:
            return "reset"
        return "ok"


@contextmanager
def load_on(kind: Kind, port: int) -> Iterator[Load]:
    if kind.speaks == "HTTP":
        with under_load(port) as load:
            yield load
        return
    asking = FastCgiLoad(port=port)
    threads = [threading.Thread(target=asking.run, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield asking
        asking.await_more(10)
    finally:
        asking.end()
        for thread in threads:
            thread.join()


def await_version(site: Site, load: Load, version: str, within: float = 60.0) -> None:
    """Wait until the daemon has settled and clients get this version."""
    eventually(lambda: load.bodies[version] > 0 and site.settled("blog"), within)


@pytest.mark.parametrize("kind", [*EVERY, *PYTHONS], ids=lambda kind: kind.name)
def test_fifty_deploys_a_kill_and_a_bad_release_lose_nothing(site: Site, kind: Kind) -> None:
    kind.require()
    port = kind.app(site, "blog", stop_timeout="10s", patience="60s")
    site.live()
    eventually(lambda: site.settled("blog"), 120)
    with load_on(kind, port) as load:
        for version in map(str, range(2, DEPLOYS + 2)):
            kind.write(site, "blog", version)
            await_version(site, load, version)
    print(f"{kind.name}: {load.ok} answers over {DEPLOYS} deploys, failed: {load.failed}")
    assert load.failed == {}
    assert len(load.bodies) == DEPLOYS + 1
    with load_on(kind, port) as load:
        before = site.pid("blog")
        os.kill(before, signal.SIGKILL)
        site.await_successor("blog", before)
        load.await_more(20)
    print(f"{kind.name}: {load.ok} answers around a kill, failed: {load.failed}")
    assert load.outcomes["refused"] == 0
    assert sum(load.failed.values()) <= 2  # those that were being answered
    if not kind.why:
        return
    with load_on(kind, port) as load:
        kind.broken_release(site, "blog")
        eventually(lambda: kind.why in site.told("blog")["message"], 90)
        load.await_more(20)
    print(f"{kind.name}: {site.told('blog')['message']}")
    assert load.failed == {}
    assert set(load.bodies) == {str(DEPLOYS + 1)}
