"""Users of apps on a host with several daemons: no number is given twice, whichever of them is killed, and when."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from reconciler.inspection.checks.isolation import users as users_checked
from reconciler.isolation.app_users import AppUsers, NoUser, app_users
from reconciler.isolation.user_claims import VARIABLE, Claimed, claim_for_warden
from reconciler.isolation.user_leases import leased_in
from reconciler.linux.regular_files import UnfitFile
from reconciler.settings.settings import Settings
from reconciler.state.paths import StatePaths
from tests.support.probe_of_isolation import LACKS
from tests.support.site import REPOSITORY

_FIRST = 77_000
_WARDED = 4711

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root claims for the whole host")


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "claims"))
    return tmp_path / "claims"


def state(tmp_path: Path, name: str) -> StatePaths:
    found = StatePaths(state=tmp_path / name)
    found.state.mkdir(mode=0o700, exist_ok=True)
    return found


def users(paths: StatePaths, many: int = 20) -> AppUsers:
    return AppUsers(paths, range(_FIRST, _FIRST + many))


def numbers(*states: StatePaths) -> list[int]:
    return [number for each in states for number in app_users(each)]


def test_two_daemons_of_one_range_share_it_and_give_no_number_twice(tmp_path: Path) -> None:
    one, two = state(tmp_path, "one"), state(tmp_path, "two")
    for app in map(str, range(10)):
        for each in (one, two):
            users(each).of(app)
            each.home(app).mkdir(parents=True)
    assert sorted(numbers(one, two)) == list(range(_FIRST, _FIRST + 20))
    with pytest.raises(NoUser, match=r"widen isolation\.uids"):
        users(one).of("one-more")


def test_daemons_that_give_out_users_at_once_give_none_twice(tmp_path: Path) -> None:
    states = [state(tmp_path, name) for name in ("one", "two", "three")]
    apps = [f"app-{number}" for number in range(20)]
    running = [
        subprocess.Popen(_words("tests.support.leased", each.state, 90, *apps), cwd=REPOSITORY) for each in states
    ]
    assert [each.wait() for each in running] == [0, 0, 0]
    found = numbers(*states)  # a process of another test may have one of the ninety meanwhile
    assert len(found) == len({*found}) == 60
    assert {*found} <= {*range(_FIRST, _FIRST + 90)}


def _words(module: str, who: object, many: int, *words: str) -> list[str]:
    return [sys.executable, "-m", module, str(who), str(_FIRST), str(many), *words]


def _killed_at(tmp_path: Path, effect: int, who: object, many: int, *words: str) -> bool:
    """End that process before its effect of that number; return whether it had so many."""
    before = [sys.executable, "-m", "tests.support.killed_at", str(tmp_path), str(effect), "kill"]
    ended = subprocess.run(
        [*before, *_words("tests.support.leased", who, many, *words)[2:]],
        cwd=REPOSITORY,
        check=False,
        capture_output=True,
    )
    assert ended.returncode in (0, -signal.SIGKILL), ended.stderr
    return ended.returncode != 0


def test_a_daemon_killed_at_any_step_of_giving_a_user_out_leaves_none_given_twice_and_none_lost(tmp_path: Path) -> None:
    one, two = state(tmp_path, "one"), state(tmp_path, "two")
    effect, kills = 1, 0
    while _killed_at(tmp_path, effect, one.state, 2, "shop"):
        kills += 1
        users(two, 2).of("blog")
        assert len(numbers(one, two)) == len(set(numbers(one, two)))
        users(one, 2).of("shop")
        assert sorted(numbers(one, two)) == [_FIRST, _FIRST + 1]
        for each in (one, two):
            shutil.rmtree(each.state)
            each.state.mkdir(mode=0o700)
        effect += 1
    assert kills > 4


def test_a_claim_whose_lease_has_ended_is_free_and_one_of_a_directory_that_is_gone_is_told(tmp_path: Path) -> None:
    one, two = state(tmp_path, "one"), state(tmp_path, "two")
    own = users(one, 1).of("shop")
    with pytest.raises(NoUser, match=f"the first by {one.state}"):
        users(two, 1).of("blog")
    one.state.rename(tmp_path / "on-a-disk-that-is-not-mounted")
    with pytest.raises(NoUser, match=f"1 by state directories that are not there, as {one.state}"):
        users(two, 1).of("blog")
    (tmp_path / "on-a-disk-that-is-not-mounted").rename(one.state)
    one.users.write_text("{}")
    assert users(two, 1).of("blog") == own


def test_a_state_directory_that_was_moved_keeps_its_users(tmp_path: Path) -> None:
    one = state(tmp_path, "one")
    own = users(one).of("shop")
    one.state.rename(tmp_path / "moved")
    moved = StatePaths(state=tmp_path / "moved")
    assert users(moved).of("shop") == own
    assert (tmp_path / f"claims/{own}").readlink() == moved.state


def test_a_number_that_two_daemons_have_starts_an_app_of_one_and_both_are_named(tmp_path: Path) -> None:
    one, two = state(tmp_path, "one"), state(tmp_path, "two")
    own = users(one).of("shop")
    shutil.copy(one.users, two.users)
    with pytest.raises(UnfitFile, match=f"it gives {own} to app:shop, and {one.state} has it, too: take it out"):
        users(two).of("shop")
    assert users(one).of("shop") == own
    if not LACKS:
        (check,) = (each for each in _checked(two) if each[0] == "warn")
        assert check[1:] == (
            f"shop has {own}, and so has {one.state}",
            "take it out of the users.json of one of the two; that app gets another one at its next start",
        )
        assert [level for level, *_ in _checked(one)] == ["ok"]
    two.users.write_text("{}")
    assert users(two).of("shop") != own


def _checked(paths: StatePaths) -> list[tuple[str, str, str]]:
    found = users_checked(Settings(manifests=paths.state, paths=paths, first_uid=_FIRST, last_uid=_FIRST + 19))
    return [(each.level, each.found, each.advice) for each in found]


def test_what_a_daemon_has_leased_before_there_were_claims_is_claimed_at_its_start(tmp_path: Path, place: Path) -> None:
    one, two = state(tmp_path, "one"), state(tmp_path, "two")
    own = users(one, 2).of("shop")
    shutil.rmtree(place)
    users(one, 2).claim()
    assert users(two, 2).of("blog") != own


def test_where_no_claim_can_be_made_users_are_given_out_and_that_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = state(tmp_path, "one")
    monkeypatch.setenv(VARIABLE, "/proc/claims")
    assert users(one).of("shop") in range(_FIRST, _FIRST + 20)
    if not LACKS:
        assert ("warn", "let the daemon write /proc/claims, or give each daemon its own isolation.uids") in [
            (level, advice) for level, _, advice in _checked(one)
        ]


def test_a_warden_has_its_numbers_alone(tmp_path: Path) -> None:
    one = state(tmp_path, "one")
    inside = range(_FIRST, _FIRST + 10)
    assert claim_for_warden(inside, _WARDED, _WARDED, leased_in)
    assert claim_for_warden(inside, _WARDED, _WARDED, leased_in), "as when it is started again"
    with pytest.raises(NoUser, match=f"the first by the warden of user {_WARDED}"):
        users(one, 10).of("shop")
    assert users(one, 11).of("shop") == _FIRST + 10
    with pytest.raises(Claimed, match=f"those of the warden of user {_WARDED}: choose others, or remove"):
        claim_for_warden(range(_FIRST + 9, _FIRST + 10), _WARDED + 1, _WARDED + 1, leased_in)
    with pytest.raises(Claimed, match=f"{_FIRST + 10} is that of an app of {one.state}: choose others, or remove"):
        claim_for_warden(range(_FIRST + 10, _FIRST + 20), _WARDED, _WARDED, leased_in)
    assert claim_for_warden(range(_FIRST + 11, _FIRST + 20), _WARDED + 1, _WARDED + 1, leased_in)


def test_a_daemon_of_root_that_gets_a_warden_keeps_its_users(tmp_path: Path) -> None:
    one = state(tmp_path, "one")
    users(one).of("shop")
    os.chown(one.state, _WARDED, _WARDED)
    assert claim_for_warden(range(_FIRST, _FIRST + 20), _WARDED, _WARDED, leased_in)


def test_a_warden_killed_at_any_step_of_its_claim_is_carried_on_by_the_next(tmp_path: Path, place: Path) -> None:
    effect, kills = 1, 0
    while _killed_at(tmp_path, effect, "warden", 10, str(_WARDED)):
        kills += 1
        assert claim_for_warden(range(_FIRST, _FIRST + 10), _WARDED, _WARDED, leased_in)
        assert (place / f"of-{_WARDED}").stat().st_uid == _WARDED
        with pytest.raises(Claimed):
            claim_for_warden(range(_FIRST, _FIRST + 1), _WARDED + 1, _WARDED + 1, leased_in)
        shutil.rmtree(place)
        effect += 1
    assert kills > 4
