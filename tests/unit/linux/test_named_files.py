"""What a manifest names is read, but nothing of a daemon's own, and nothing that a link's maker may not read."""

import os
import threading
from functools import cached_property
from inspect import isfunction, signature
from pathlib import Path

import pytest

from reconciler.linux import named_files
from reconciler.linux.named_files import is_own, read_named, withheld
from reconciler.linux.regular_files import UnfitFile
from reconciler.state.paths import StatePaths
from reconciler.vault.dotenv import Unusable
from reconciler.vault.secret_reader import SecretReader
from tests.support.entered import let_all_enter

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives links away")
_USER = 4711
_MOST = 1000


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory that every user may enter, with a state directory, a private file and one for every user."""
    let_all_enter(tmp_path)
    state = tmp_path / "state"
    for name in (
        "reconciler.db",
        "lock",
        "key",
        "manifests/secret",
        "origins/a/secret",
        "conf/secret",
        "apps/a/secret",
        "homes/a/x",
        "sources/a/x",
    ):
        (state / name).parent.mkdir(parents=True, exist_ok=True)
        (state / name).write_text("of the daemon")
    for name, mode in (("private", 0o600), ("shown", 0o644)):
        (tmp_path / name).write_text(name)
        (tmp_path / name).chmod(mode)
    return tmp_path


def a_link(at: Path, to: Path | str, user: int = _USER) -> Path:
    """Make a link of a user."""
    at.symlink_to(to)
    os.lchown(at, user, user)
    return at


@pytest.mark.parametrize("name", ["environ", "cmdline", "status", "task/{}/environ"])
def test_nothing_of_a_process_is_read(place: Path, name: str) -> None:
    of_ours = Path(f"/proc/{os.getpid()}", name.format(os.getpid()))
    (place / "link").symlink_to(of_ours)
    for path in (of_ours, place / "link", Path("/proc/self", *of_ours.parts[3:])):
        with pytest.raises(UnfitFile, match="it shows what a process has"):
            read_named(path, _MOST)
        assert withheld(path) == "it shows what a process has"


@pytest.mark.parametrize("name", ["key", "reconciler.db", "apps/a/secret", "homes/a/x", "sources/a/x"])
def test_no_file_of_a_daemon_is_read_by_its_path_or_by_a_link(place: Path, name: str) -> None:
    (place / "link").symlink_to(place / "state" / name)
    (place / "directory").symlink_to(place / "state")
    for path in (place / "state" / name, place / "link", place / "directory" / name, place / "x/../state" / name):
        (place / "x").mkdir(exist_ok=True)
        with pytest.raises(UnfitFile, match="it is in the state directory of the daemon"):
            read_named(path, _MOST)
        assert withheld(path) == "it is in the state directory of the daemon"


@pytest.mark.parametrize("name", ["manifests/secret", "origins/a/secret", "conf/secret"])
def test_what_manifests_in_a_state_directory_name_beside_them_is_read(place: Path, name: str) -> None:
    assert read_named(place / "state" / name, _MOST) == b"of the daemon"
    assert withheld(place / "state" / name, public=True) == ""


def test_every_file_and_directory_of_a_state_directory_is_known_by_its_name() -> None:
    paths = StatePaths(state=Path("/state"))
    known = [
        getattr(paths, name) for name, each in vars(StatePaths).items() if isinstance(each, property | cached_property)
    ]
    for name, each in vars(StatePaths).items():
        if isfunction(each) and not name.startswith("_"):
            known.append(each(paths, *["x"] * (len(signature(each).parameters) - 1)))
    names = {path.relative_to("/state").parts[0] for path in known if isinstance(path, Path) and path != Path("/state")}
    assert {name for name in names if not is_own(name)} == {"manifests", "origins", paths.earlier_wakeup_pipe.name}
    assert is_own("reconciler.db-wal")
    assert is_own("reconciler.db.version-2")


@as_root
def test_nobody_has_files_refused_by_what_looks_like_a_state_directory(place: Path) -> None:
    for name in ("reconciler.db", "lock"):
        (place / name).touch()
        os.chown(place / name, _USER, _USER)
    assert read_named(place / "private", _MOST) == b"private"


@as_root
def test_a_link_of_a_user_leads_to_what_that_user_may_read(place: Path) -> None:
    link = a_link(place / "link", place / "private")
    with pytest.raises(UnfitFile, match=f"a link of user {_USER} to {place}/private, which that user may not read"):
        read_named(link, _MOST)
    assert str(place / "private") in withheld(link)
    (place / "private").chmod(0o644)
    assert read_named(link, _MOST) == b"private"
    (place / "private").chmod(0o600)
    os.chown(place / "private", _USER, _USER)
    assert read_named(link, _MOST) == b"private"
    assert withheld(link) == ""


@as_root
def test_a_link_of_a_user_to_a_directory_that_no_other_may_enter_leads_to_nothing_in_it(place: Path) -> None:
    (place / "closed").mkdir(mode=0o700)
    (place / "closed/file").write_text("closed")
    (place / "closed/file").chmod(0o644)
    a_link(place / "link", "closed")
    for path in (place / "link/file", a_link(place / "other", place / "link/../closed/file", 0)):
        with pytest.raises(UnfitFile, match="may not read"):
            read_named(path, _MOST)
    os.chown(place / "closed", _USER, _USER)
    assert read_named(place / "link/file", _MOST) == b"closed"


def test_own_links_lead_anywhere_and_the_content_of_a_public_one_is_for_everyone(place: Path) -> None:
    (place / "releases/7").mkdir(parents=True)
    (place / "releases/7/file").write_text("seven")
    (place / "releases/7/file").chmod(0o640)
    (place / "current").symlink_to("releases/7")
    (place / "..data").symlink_to("current")
    (place / "link").symlink_to("..data/file")
    assert read_named(place / "link", _MOST) == b"seven"
    assert read_named(place / "releases/7/file", _MOST, public=True) == b"seven"
    for path in (place / "link", place / "current/file"):
        with pytest.raises(UnfitFile, match=f"a link to {place}/releases/7/file, which other users may not read"):
            read_named(path, _MOST, public=True)
    (place / "releases/7/file").chmod(0o644)
    assert read_named(place / "link", _MOST, public=True) == b"seven"


def test_a_file_without_a_link_on_its_way_is_resolved_once(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    readlink, asked = os.readlink, list[str]()

    def counted(path: str) -> str:
        asked.append(path)
        return readlink(path)

    monkeypatch.setattr(os, "readlink", counted)
    assert read_named(place / "private", _MOST) == b"private"
    assert len(asked) == 1


def test_links_in_a_circle_end(place: Path) -> None:
    (place / "a").symlink_to("b")
    (place / "b").symlink_to("a")
    with pytest.raises(OSError, match="Too many levels"):
        read_named(place / "a", _MOST)
    assert withheld(place / "a") == ""


@as_root
def test_links_and_directories_that_are_turned_meanwhile_never_show_what_is_private(place: Path) -> None:
    (place / "secrets").mkdir(mode=0o700)
    (place / "secrets/file").write_text("private")
    (place / "own").mkdir()
    (place / "own/file").write_text("own")
    os.chown(place / "own/file", _USER, _USER)
    ended = threading.Event()

    def turn() -> None:
        aside = a_link(place / "aside", "secrets")
        while not ended.is_set():
            for one, other in (("own", "kept"), ("aside", "own"), ("own", "aside"), ("kept", "own")):
                (place / one).rename(place / other)
        aside.unlink()

    turning = threading.Thread(target=turn)
    turning.start()
    read = set[bytes]()
    try:
        for _ in range(3000):
            try:
                read.add(read_named(place / "own/file", _MOST))
            except OSError:
                continue
    finally:
        ended.set()
        turning.join()
    assert read <= {b"own"}


@as_root
def test_a_secret_that_is_refused_tells_nothing_of_its_content(place: Path) -> None:
    (place / "private").write_text("A=hunter2\n")
    for reader in (SecretReader(), SecretReader(of_host=True)):
        link = place / "link"
        link.unlink(missing_ok=True)
        a_link(link, place / "private")
        if reader._of_host:
            assert reader.variables_of(link) == {"A": "hunter2"}
            continue
        for read in (reader.variables_of, reader.fields_of, reader.value_of):
            with pytest.raises(Unusable, match="which that user may not read") as refused:
                read(link)
            assert "hunter2" not in str(refused.value)


@as_root
def test_a_link_of_a_user_leads_to_what_a_group_of_the_user_may_read(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(named_files, "_groups", lambda user: [4712] if user == _USER else [])
    (place / "private").chmod(0o640)
    link = a_link(place / "link", place / "private")
    with pytest.raises(UnfitFile, match="which that user may not read"):
        read_named(link, _MOST)
    os.chown(place / "private", 0, 4712)
    assert read_named(link, _MOST) == b"private"
