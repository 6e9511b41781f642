"""Whose a state directory must be before anything in it is read, changed or run."""

import os
from pathlib import Path

import pytest

from reconciler.state.lock import acquire
from reconciler.state.ownership import NotOurs, require_ours
from reconciler.state.paths import StatePaths

_OTHER = 65_534

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files to another user")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    directory = tmp_path / "state"
    directory.mkdir(mode=0o755)
    return directory


def refusal(state: Path) -> str:
    """Why a state directory is refused; taking its lock changes nothing in it, nor its mode."""
    target = state.resolve()
    before = (target.stat().st_mode, sorted(target.iterdir()))
    with pytest.raises(NotOurs) as refused, acquire(StatePaths(state=state)):
        pass
    assert (target.stat().st_mode, sorted(target.iterdir())) == before
    return str(refused.value)


def test_a_directory_that_another_user_made_first_is_refused(state: Path) -> None:
    os.chown(state, _OTHER, _OTHER)
    assert f"cannot use {state}: it belongs to user 65534" in refusal(state)
    assert "run this command as its owner" in refusal(state)


def test_a_link_that_another_user_planted_is_not_followed(state: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(state)
    require_ours(link)
    os.lchown(link, _OTHER, _OTHER)
    assert f"cannot use {link}: it belongs to user 65534" in refusal(link)


def test_something_that_another_user_put_into_it_is_named(state: Path) -> None:
    (state / "environments").mkdir()
    os.chown(state / "environments", _OTHER, _OTHER)
    assert f"cannot use {state}/environments: it belongs to user 65534" in refusal(state)


@pytest.mark.parametrize(
    ("owner", "mode", "safe"), [(0, 0o755, True), (0, 0o1777, True), (0, 0o777, False), (_OTHER, 0o755, False)]
)
def test_root_uses_no_directory_that_another_user_could_rename(
    state: Path, tmp_path: Path, owner: int, mode: int, safe: bool
) -> None:
    above = tmp_path / "above"
    above.mkdir()
    inside = state.rename(above / "state")
    os.chown(above, owner, owner)
    above.chmod(mode)
    if safe:
        require_ours(inside)
    else:
        assert "other users can put something else in its place" in refusal(inside)


def test_a_lock_that_is_a_link_is_not_followed(state: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("data")
    (state / "lock").symlink_to(precious)
    with pytest.raises(OSError, match="symbolic links"), acquire(StatePaths(state=state)):
        pass
    assert precious.read_text() == "data"


def test_its_own_directory_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    paths = StatePaths(state=tmp_path / "below" / "state")
    with acquire(paths) as lock:
        assert paths.state.stat().st_mode & 0o777 == 0o700
        assert lock.is_in_place()
