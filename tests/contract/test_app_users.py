"""Users of apps on a real disk: a number is never given twice, whatever happens to the file that says whose it is."""

import fcntl
import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reconciler.isolation import giving
from reconciler.isolation.app_users import AppUsers, NoUser, app_users
from reconciler.isolation.giving import MIXED, grant
from reconciler.isolation.launching import confined
from reconciler.isolation.main import NO_REPORT
from reconciler.isolation.user_claims import VARIABLE
from reconciler.isolation.user_leases import COMMON_BUILDER, damaged_files, read_leases
from reconciler.linux.regular_files import UnfitFile
from reconciler.planning.isolation.confinement import Confinement
from reconciler.staging.written_files import mark_served, written_files
from reconciler.state.paths import StatePaths
from tests.support.eventually import eventually
from tests.support.probe_of_isolation import LACKS, NO_MOUNTS

_FIRST = 76_000
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StatePaths:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "claims"))
    found = StatePaths(state=tmp_path / "state")
    found.home("any").parent.mkdir(parents=True)
    found.state.chmod(0o700)
    return found


def users(paths: StatePaths, many: int = 100) -> AppUsers:
    return AppUsers(paths, range(_FIRST, _FIRST + many))


def a_home(paths: StatePaths, app: str, user: int) -> None:
    paths.home(app).mkdir()
    os.chown(paths.home(app), user, user)


_LEASE = """
import sys
from pathlib import Path
from typing import Any
from reconciler.isolation.app_users import AppUsers
from reconciler.state.paths import StatePaths
users = AppUsers(StatePaths(state=Path(sys.argv[1])), range(int(sys.argv[2]), int(sys.argv[2]) + 100))
for number in range(20):
    users.of(f"{sys.argv[3]}-{number}")
"""


def test_processes_that_give_out_users_at_once_give_none_twice(paths: StatePaths) -> None:
    words = (sys.executable, "-c", _LEASE, str(paths.state), str(_FIRST))
    running = [subprocess.Popen((*words, name)) for name in ("one", "two", "three")]
    assert [each.wait() for each in running] == [0, 0, 0]
    found = app_users(paths)
    assert len(found) == len(set(found.values())) == 60


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-9])


def _one_bad(file: Path) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), "app:new": "76000"}))


def _linked(file: Path) -> None:
    file.rename(file.with_name("elsewhere"))
    file.symlink_to("elsewhere")


def _a_directory(file: Path) -> None:
    file.unlink()
    file.mkdir()


_DAMAGES: dict[str, Callable[[Path], object]] = {
    "cut short": _cut,
    "empty": lambda file: file.write_bytes(b""),
    "not JSON": lambda file: file.write_bytes(bytes(100)),
    "a list": lambda file: file.write_text("[1, 2]"),
    "nested": lambda file: file.write_text("[" * 100_000),
    "one that is no lease": _one_bad,
    "a link": _linked,
    "a directory": _a_directory,
    "writable for all": lambda file: file.chmod(0o666),
    "another user's": lambda file: os.chown(file, 4711, 4711),
    "gone": lambda file: file.unlink(),
}


@as_root
@pytest.mark.parametrize("damage", _DAMAGES)
def test_a_damaged_file_takes_no_user_from_its_app_and_gives_none_twice(paths: StatePaths, damage: str) -> None:
    before = {name: users(paths).of(name) for name in ("one", "two", "half")}
    group = users(paths).of_service("notes", "1a2b")
    for name in ("one", "two"):
        a_home(paths, name, before[name])
    paths.home("half").mkdir()  # killed while it was given away: what is inside comes first
    (paths.home("half") / "file").touch()
    os.chown(paths.home("half") / "file", before["half"], before["half"])
    (paths.state / "services/notes/1a2b").mkdir(parents=True)
    os.chown(paths.state / "services/notes/1a2b", -1, group)
    _DAMAGES[damage](paths.users)
    assert {name: number for number, name in app_users(paths).items()} == before, "what runs is known all the same"
    assert not read_leases(paths).whole
    new = users(paths).of("new")
    assert new not in {*before.values(), group}
    assert {name: users(paths).of(name) for name in before} == before
    assert users(paths).of_service("notes", "1a2b") == group
    assert read_leases(paths).whole
    assert bool(damaged_files(paths)) == (damage != "gone")


@as_root
def test_a_number_of_which_only_a_file_tells_is_not_given_again(paths: StatePaths) -> None:
    lost = users(paths, 2).of("removed")
    scratch = paths.short_scratches / "left"
    scratch.mkdir(parents=True)
    os.chown(scratch, lost, lost)
    paths.users.write_text("{")
    a_home(paths, "one", users(paths, 2).of("one"))
    assert users(paths, 2).of("one") != lost
    with pytest.raises(NoUser, match="are in use"):
        users(paths, 2).of("two")
    scratch.rmdir()
    assert users(paths, 2).of("two") == lost


@as_root
def test_no_login_user_whose_files_were_copied_into_a_home_becomes_that_of_an_app(paths: StatePaths) -> None:
    users(paths).of("one")
    paths.users.write_text("")
    a_home(paths, "copied", 1)  # daemon, on every host
    assert app_users(paths) == {}
    assert users(paths).of("copied") >= _FIRST


def test_a_file_that_gives_a_number_to_two_apps_starts_neither_and_says_which(paths: StatePaths) -> None:
    paths.users.write_text(json.dumps({"app:one": _FIRST, "app:two": _FIRST, "app:three": _FIRST + 1}))
    paths.users.chmod(0o600)
    with pytest.raises(UnfitFile, match=rf"users.json: it gives {_FIRST} to app:one and to app:two"):
        users(paths).of("one")
    assert users(paths).of("three") == _FIRST + 1
    assert users(paths).of("four") not in {_FIRST, _FIRST + 1}


_FULL = """
import resource, sys
from pathlib import Path
from typing import Any
from reconciler.isolation.app_users import AppUsers
from reconciler.state.paths import StatePaths
resource.setrlimit(resource.RLIMIT_FSIZE, (16, 16))  # as a disk of which that is left
users = AppUsers(StatePaths(state=Path(sys.argv[1])), range(int(sys.argv[2]), int(sys.argv[2]) + 100))
print(users.of("one"))
try:
    users.of("two")
except OSError as error:
    print("refused", error.strerror)
"""


def test_on_a_full_disk_no_user_is_given_out_and_those_that_are_stay(paths: StatePaths) -> None:
    own = users(paths).of("one")
    before = paths.users.read_bytes()
    words = (sys.executable, "-c", _FULL, str(paths.state), str(_FIRST))
    told = subprocess.run(words, capture_output=True, text=True, check=True)
    assert told.stdout.splitlines() == [
        str(own),
        "refused cannot give out a user: File too large; apps that have one go on",
    ]
    assert paths.users.read_bytes() == before
    assert sorted(each.name for each in paths.state.glob("*users.json*")) == ["users.json", "users.json.lock"]
    assert users(paths).of("two") not in {own, 0}


def test_a_process_that_keeps_others_from_giving_out_users_is_not_waited_for_without_end(paths: StatePaths) -> None:
    own = users(paths).of("one")
    with (paths.state / "users.json.lock").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert users(paths).of("one") == own
        with pytest.raises(UnfitFile, match="another process has not ended giving out users"):
            users(paths).of("two")
    assert users(paths).of("two") != own


@as_root
def test_the_user_of_a_removed_app_is_given_again_only_once_its_home_and_files_are_gone(paths: StatePaths) -> None:
    own = users(paths, 1).of("removed")
    a_home(paths, "removed", own)
    service = paths.state / "services/notes/1a2b"
    service.mkdir(parents=True)
    (service / "written").touch()
    os.chown(service / "written", own, own)
    with pytest.raises(NoUser):
        users(paths, 1).of("next")
    paths.home("removed").rmdir()
    with pytest.raises(NoUser):
        users(paths, 1).of("next")
    (service / "written").unlink()
    assert users(paths, 1).of("next") == own
    assert app_users(paths) == {own: "next"}


@as_root
def test_what_builds_each_app_has_a_user_of_its_own_which_no_app_gets_and_which_stays(paths: StatePaths) -> None:
    many = users(paths, 30)
    assert many.builders() == {}
    builder, app, other = many.of_builds("shop"), many.of("shop"), many.of_builds("blog")
    assert len({builder, app, other}) == 3
    assert (builder, other) == (many.of_builds("shop"), users(paths, 30).of_builds("blog"))
    assert users(paths, 30).builders() == {builder: "shop", other: "blog"}
    assert app_users(paths) == {app: "shop"}


def is_there(paths: StatePaths, app: str) -> Path:
    paths.app(app).mkdir(parents=True)
    return paths.app(app)


@as_root
def test_once_as_many_apps_as_may_have_one_what_builds_further_ones_has_one_in_common(paths: StatePaths) -> None:
    some = users(paths, 8)
    own, app = some.of_builds("shop"), is_there(paths, "shop")
    common = some.of_builds("blog")
    assert common == some.of_builds("wiki") != own == some.of_builds("shop")
    assert some.builders() == {own: "shop", common: ""}
    app.rmdir()  # an app that was removed counts no more
    assert some.of_builds("blog") not in {own, common}


@as_root
def test_the_user_of_what_builds_an_app_is_given_again_once_the_app_is_gone(paths: StatePaths) -> None:
    few = users(paths, 8)
    own, app = few.of_builds("shop"), is_there(paths, "shop")
    a_home(paths, "shop", few.of("shop"))
    for number in range(6):
        a_home(paths, f"app{number}", few.of(f"app{number}"))
    with pytest.raises(NoUser):
        few.of("last")
    app.rmdir()
    assert few.of("last") == own
    assert few.builders() == {}


@as_root
def test_where_no_user_is_left_for_what_builds_an_app_it_has_the_one_in_common(paths: StatePaths) -> None:
    few = users(paths, 8)
    taken = [few.of(f"app{number}") for number in range(7)]
    for number, user in enumerate(taken):
        a_home(paths, f"app{number}", user)
    common = few._lease(COMMON_BUILDER)
    assert few.of_builds("app1") == common


@as_root
def test_the_common_user_of_what_builds_goes_to_no_app(paths: StatePaths) -> None:
    few = users(paths, many=2)
    assert few.builders() == {}
    builder = few.of_builds("shop")
    assert few.of("shop") != builder
    a_home(paths, "shop", few.of("shop"))
    with pytest.raises(NoUser):  # nothing runs as it, and nothing is its
        few.of("blog")
    assert few.builders() == users(paths, many=2).builders() == {builder: ""}
    assert builder == few.of_builds("blog") == users(paths, many=2).of_builds("shop")
    assert app_users(paths) == {few.known("shop"): "shop"}


@as_root
def test_what_an_app_has_written_into_its_build_is_known_to_be_and_what_it_may_read_is_not(tmp_path: Path) -> None:
    build = tmp_path / "build"
    (build / "code/deep").mkdir(parents=True)
    for name in ("wsgi.py", "deep/kept.db"):
        (build / "code" / name).touch(0o600)
    mark_served(build)
    eventually(lambda: write_later(build / "code/deep/kept.db"))
    assert written_files(build).paths == ("deep/kept.db",)
    for group in (_FIRST, _FIRST, _FIRST + 1):
        top = os.open(build, os.O_RDONLY)
        grant(top, group)
        os.close(top)
        assert written_files(build).paths == ("deep/kept.db",)
        assert {path.stat().st_gid for path in build.rglob("*")} == {group}
        assert (build / "code/wsgi.py").stat().st_mode & 0o777 == 0o640


def write_later(file: Path) -> bool:
    """Write to a file until that is known to be after the build began to serve."""
    file.write_text("written")
    return bool(written_files(file.parents[2]).paths)


_KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from types import SimpleNamespace
from reconciler.isolation import giving
left = int(sys.argv[2])
def counted(call):
    def do(*arguments, **named):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*arguments, **named)
    return do
for name in ("chown", "fchown", "chmod", "fchmod"):
    setattr(os, name, counted(getattr(os, name)))
_, _, _, user, group, home, build, opened, shared = sys.argv
giving.hand_out(SimpleNamespace(
    uid=int(user), owned=(home,), mixed=(), granted=(build,), opened=(opened,),
    shared=(f"{group}:{shared}",)))
"""


@as_root
def test_a_process_killed_at_any_step_of_giving_files_away_is_carried_on_by_the_next(tmp_path: Path) -> None:
    user, group = _FIRST, _FIRST + 1
    outside = tmp_path / "outside"
    outside.touch()
    places = [tmp_path / name for name in ("home", "build", "opened", "shared")]
    for place in places:
        place.mkdir(0o700)
        (place / "deep").mkdir(0o700)
        (place / "deep/file").touch(0o600)
        (place / "file").touch(0o600)
    home, build, opened, shared = places
    (home / "link").symlink_to(outside)
    os.link(outside, home / "same")
    kills = 0
    repository = str(Path(__file__).parents[2])
    while True:
        home.chmod(0o700 | MIXED)  # as one in which root may have written meanwhile
        words = [sys.executable, "-I", "-S", "-c", _KILLED, repository, str(kills), str(user), str(group)]
        ended = subprocess.run([*words, *map(str, places)], check=False)
        assert outside.stat().st_uid == 0
        if ended.returncode == 0:
            break
        kills += 1
    assert kills > 3
    assert {path.lstat().st_uid for path in (home, *home.rglob("*")) if path.name not in {"link", "same"}} == {user}
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert {(path.stat().st_uid, path.stat().st_gid) for path in (build, *build.rglob("*"))} == {(0, user)}
    assert (build / "deep/file").stat().st_mode & 0o077 == 0o040
    assert (opened / "deep/file").stat().st_mode & 0o077 == 0o004
    assert (shared.stat().st_gid, stat.S_IMODE(shared.stat().st_mode)) == (group, 0o2770)


def _few(tmp_path: Path) -> tuple[Path, Path, Path]:
    """A home, a build with a file of root's in a directory, and an environment."""
    home, build, opened = (tmp_path / name for name in ("home", "build", "opened"))
    for place in (home, build, opened):
        place.mkdir(0o700)
    opened.chmod(0o755)
    (build / "deep").mkdir(0o700)
    (build / "deep/file").touch(0o600)
    return home, build, opened


def _of_few(places: tuple[Path, Path, Path], **more: Any) -> Confinement:
    home, build, opened = map(str, places)
    given = Confinement(isolation="strict", uid=_FIRST, gid=_FIRST, owned=(home,), granted=(build,), opened=(opened,))
    return replace(given, **more)


def _owners(places: tuple[Path, Path, Path]) -> list[tuple[int, int, int]]:
    found = [path.stat() for place in places for path in (place, *sorted(place.rglob("*")))]
    return [(each.st_uid, each.st_gid, stat.S_IMODE(each.st_mode)) for each in found]


@as_root
def test_what_is_little_is_handed_out_by_another_process_and_what_it_leaves_is_as_it_was(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    one, two = _few(tmp_path / "one"), _few(tmp_path / "two")
    giving.hand_out(_of_few(one))
    assert giving.hand_out_little(_of_few(two))
    assert _owners(one) == _owners(two)
    assert giving.hand_out_little(_of_few(two))  # nothing is left to do
    two[0].chmod(0o700 | MIXED)
    (two[0] / "of-root").touch()
    before = _owners(two)
    assert not giving.hand_out_little(_of_few(two))
    assert _owners(two) == before
    giving.hand_out(_of_few(two))
    assert giving.hand_out_little(_of_few(two))
    assert not giving.hand_out_little(_of_few(two, mixed=(str(two[0]),)))
    assert not giving.hand_out_little(_of_few(two, shared=(f"{_FIRST}:{two[0]}",)))


@as_root
def test_what_takes_a_while_to_hand_out_is_left_to_the_process_that_needs_it(tmp_path: Path) -> None:
    places = _few(tmp_path)
    for number in range(200):
        (places[1] / str(number)).touch(0o600)
    before = _owners(places)
    assert not giving.hand_out_little(_of_few(places, owned=()))
    assert _owners(places) == before
    for file in places[1].glob("*[0-9]"):
        file.unlink()
    served = places[1] / giving.SERVED
    served.touch()
    os.utime(served, (1, 1))  # all else has been written since
    before = _owners(places)
    assert not giving.hand_out_little(_of_few(places))
    assert _owners(places)[1:] == before[1:]


@as_root
def test_a_link_in_the_place_of_a_directory_is_handed_out_by_no_process(tmp_path: Path) -> None:
    places = _few(tmp_path)
    link = tmp_path / "link"
    link.symlink_to(places[2])
    assert not giving.hand_out_little(_of_few(places, opened=(str(link),)))
    with pytest.raises(OSError, match="link"):
        giving.hand_out_little(_of_few(places, granted=(str(link),)))


@as_root
@pytest.mark.skipif(bool(LACKS or NO_MOUNTS), reason=f"no files of its own here: {LACKS or NO_MOUNTS}")
def test_a_user_of_an_app_has_a_name_a_group_and_a_home_beside_those_of_the_host() -> None:
    looks = "id -un; id -gn; getent passwd app-shop; getent passwd root"
    given = Confinement(
        isolation="strict", visible=("/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc"), uid=_FIRST, gid=_FIRST,
        account="app-shop:/srv/homes/shop", daemon=os.getpid(),
    )  # fmt: skip
    command = confined(("/bin/sh", "-c", looks), given, NO_REPORT)
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.splitlines()
    assert said[:3] == ["app-shop", "app-shop", f"app-shop:x:{_FIRST}:{_FIRST}::/srv/homes/shop:/bin/sh"]
    assert said[3].startswith("root:")
    assert given.as_variables() == {"USER": "app-shop", "LOGNAME": "app-shop"}
