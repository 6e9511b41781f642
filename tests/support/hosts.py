"""Fixtures of the tests that run on a real host: the shared store, and a site that explains itself when it fails."""

from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from functools import cache
from multiprocessing import current_process
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.support.site import Site
from tests.support.store import Store, warm

# Of 107 bytes that the path of a socket has: of multiprocessing's, and of a program's below the root of a site.
_LONGEST_BASE, _LONGEST_ROOT = 80, 73
_failed = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    item.stash[_failed] = item.stash.get(_failed, False) or report.failed
    return report


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return _warmed(tmp_path_factory.getbasetemp())


@cache
def _warmed(base: Path) -> Store:
    """Once for a whole run, though every folder of tests has a fixture of its own."""
    if len(str(base)) < _LONGEST_BASE:
        # A run that is killed leaves the directory of multiprocessing's sockets: this one is removed with older runs'.
        current_process()._config.setdefault("tempdir", str(base))  # type: ignore[attr-defined]
    return warm(base / "store")


@pytest.fixture
def site(tmp_path: Path, store: Store, request: pytest.FixtureRequest) -> Iterator[Site]:
    """A site in the directory of its test; in a short one where the path of that leaves no room for a socket's."""
    if len(str(tmp_path)) <= _LONGEST_ROOT:
        yield from explained(Site.at(tmp_path, store), request)
        return
    with TemporaryDirectory(prefix="r-", ignore_cleanup_errors=True) as short:
        Path(short).chmod(0o755)
        yield from explained(Site.at(Path(short), store), request)


def explained(site: Site, request: pytest.FixtureRequest) -> Iterator[Site]:
    """The site for one test, which says what happened when that fails, and leaves nothing running."""
    with closing(site), explaining(site, request):
        yield site


@contextmanager
def explaining(site: Site, request: pytest.FixtureRequest) -> Iterator[None]:
    """For a fixture of one test: say what happened on a site when the test failed."""
    yield
    if request.node.stash.get(_failed, False):
        print(site.explain())
