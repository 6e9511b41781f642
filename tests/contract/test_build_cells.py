"""Code of an isolated app's packages runs in a cell: nothing of the host, of other apps or of the store is in reach."""

import asyncio
import io
import json
import os
import shutil
import sys
import tarfile
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from reconciler.host.staging_settings import remove_own_caches
from reconciler.linux.files import draft, require_within
from reconciler.linux.regular_files import UnfitFile
from reconciler.planning.isolation.confinement import Isolated, Mount
from reconciler.serving.build_confinements import BuildConfinements
from reconciler.serving.host_sight import HostSight
from reconciler.settings.settings import Settings
from reconciler.staging.build_cell import BuildCell, seen_by_installers
from reconciler.staging.environments.installers import needs_build
from reconciler.staging.errors import StagingError
from reconciler.staging.staged import Staged
from reconciler.staging.stager import Stager
from reconciler.state.paths import StatePaths
from tests.contract.test_staging import WSGI, Host, host, shared, version_of
from tests.support.probe_of_isolation import LACKS, NO_BUILDER, NO_MOUNTS

__all__ = ["host", "shared"]

pytestmark = [pytest.mark.network, pytest.mark.skipif(bool(LACKS), reason=f"no files of its own here: {LACKS}")]

STRICT = Isolated(kind="strict")
BUILDER = 79_991
HELD: Mapping[str, Any] = {} if NO_BUILDER else {"uid": BUILDER, "gid": BUILDER}
# What code tries while it is built, each with whether it got through; the list is left beside the code.
TRIES = """
import json, os
from pathlib import Path

def through(attempt):
    try:
        attempt()
    except OSError:
        return False
    return True

state, found = Path({state!r}), {{}}
found["read the state database"] = through(lambda: (state / "reconciler.db").read_bytes())
found["read another app's build"] = through(lambda: (state / "apps/other/secret").read_text())
found["read another app's home"] = through(lambda: (state / "homes/other/secret").read_text())
found["write in another environment"] = through(lambda: (state / "environments/other/x").write_text(""))
found["write in the host's cache"] = through(lambda: Path({cache!r}, "poison").write_text(""))
found["write in its own code"] = through(lambda: (Path(__file__).parent / "made").write_text(""))
found["write in /usr"] = through(lambda: Path("/usr/reconciler-evil").write_text(""))
found["signal the daemon"] = through(lambda: os.kill({pid}, 0))
Path(__file__).with_name("tries.json").write_text(json.dumps(found))
"""
SETUP = "from setuptools import setup\nsetup(name='pkg', version='1', py_modules=[])\n"


def cell_of(host: Host, app: str) -> BuildCell:
    confinements = BuildConfinements(HostSight(StatePaths(state=host.root)))
    confines = partial(confinements.of, STRICT, held=HELD)
    return BuildCell(app=app, directory=host.root / "cells" / app, confines=confines)


def staged(
    host: Host,
    app: str,
    files: dict[str, str],
    *,
    isolated: bool = True,
    stager: Stager | None = None,
    runtime: str = "3.12",
) -> Staged:
    cell = cell_of(host, app) if isolated else None
    build = host.build(app, {"wsgi.py": WSGI, **files}, runtime=runtime)
    stager = stager or host.stager()
    return asyncio.run(
        stager.stage(app, build, host.log(app), host.progress.append, kept=host.root / "kept" / app, cell=cell)
    )


def others(host: Host) -> None:
    """Make what belongs to the daemon and to other apps."""
    for file in ("reconciler.db", "apps/other/secret", "homes/other/secret", "environments/other/secret"):
        (host.root / file).parent.mkdir(parents=True, exist_ok=True)
        (host.root / file).write_text("theirs")


def hostile(host: Host) -> str:
    return TRIES.format(state=str(host.root), cache=str(host.root.parent / "cache"), pid=os.getpid()) + SETUP


SAYS_WHO = """
import getpass, json, os
from pathlib import Path
Path("/dev/stdout").write_text("said")
mine = os.stat(__file__)
Path(__file__).with_name("who.json").write_text(
    json.dumps([os.getuid(), os.getgid(), getpass.getuser(), mine.st_uid])
)
"""


@pytest.mark.skipif(bool(NO_BUILDER), reason=NO_BUILDER or "-")
def test_what_builds_is_another_user_than_root_and_what_it_makes_is_roots(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("USER", "LOGNAME", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    made = staged(host, "apart", {"requirements.txt": "./pkg\n", "pkg/setup.py": SAYS_WHO + SETUP})
    who = Path(made.code, "pkg/who.json")
    assert json.loads(who.read_text()) == [BUILDER, BUILDER, "builder", BUILDER]
    owners = {path.lstat().st_uid for top in (made.code, made.environment) for path in Path(top).rglob("*")}
    assert owners == {0}
    assert version_of(made, "pkg") == "1"


@pytest.mark.skipif(bool(NO_BUILDER), reason=NO_BUILDER or "-")
def test_where_a_file_system_cannot_show_another_owner_builds_run_as_the_daemon(host: Host) -> None:
    seen = "/sys/kernel/mm"
    confinements = BuildConfinements(HostSight(StatePaths(state=host.root), mounts=(seen,)))
    mounted = replace(STRICT, mounts=(Mount(path=seen),))
    cell = replace(cell_of(host, "plain"), confines=partial(confinements.of, mounted, held=HELD))
    files = {"wsgi.py": WSGI, "requirements.txt": "./pkg\n", "pkg/setup.py": SAYS_WHO + SETUP}
    build = host.build("plain", files, runtime="3.12")
    made = asyncio.run(
        host.stager().stage("plain", build, host.log("plain"), host.progress.append, kept=host.root / "kept", cell=cell)
    )
    assert json.loads(Path(made.code, "pkg/who.json").read_text())[:1] == [0]


@pytest.mark.parametrize("requirement", ["./pkg", "-e ./pkg"])
def test_a_setup_that_attacks_reaches_nothing_of_the_host(host: Host, requirement: str) -> None:
    others(host)
    made = staged(host, "hostile", {"requirements.txt": f"{requirement}\n", "pkg/setup.py": hostile(host)})
    found = json.loads(Path(made.code, "pkg/tries.json").read_text())
    assert [name for name, through in found.items() if through] == ["write in its own code"]
    assert not (host.root.parent / "cache" / "poison").exists()
    shutil.rmtree(host.root / "environments" / "other")


def test_without_a_cell_the_same_setup_gets_through(host: Host) -> None:
    others(host)
    source = hostile(host).replace("/usr/reconciler-evil", str(host.root / "usr-evil"))
    made = staged(host, "open", {"requirements.txt": "./pkg\n", "pkg/setup.py": source}, isolated=False)
    found = json.loads(Path(made.code, "pkg/tries.json").read_text())
    assert all(found.values()), found
    (host.root.parent / "cache" / "poison").unlink()
    shutil.rmtree(host.root / "environments" / "other")


def test_a_python_in_the_code_of_an_isolated_app_is_refused_and_not_run(host: Host) -> None:
    mark, program = host.root / "it-ran", host.root / "sources/own/python3"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\n: > {mark}\nexec {os.path.realpath(sys.executable)} "$@"\n')
    program.chmod(0o755)
    with pytest.raises(
        StagingError, match="is no Python of this host, and the daemon runs no other for an isolated app"
    ):
        staged(host, "own", {}, runtime=str(program))
    assert not mark.exists()


def test_isolated_apps_share_an_environment_of_wheels_and_none_that_was_built(host: Host) -> None:
    plain = {"requirements.txt": "iniconfig\n"}
    one, two = staged(host, "one", plain), staged(host, "two", plain)
    assert one.environment == two.environment
    assert staged(host, "three", plain, isolated=False).environment != one.environment
    building = {"requirements.txt": "./pkg\n", "pkg/setup.py": SETUP}
    four, five = staged(host, "four", building), staged(host, "five", building)
    assert four.environment != five.environment


def test_a_package_without_a_wheel_is_built_in_the_cell_with_a_cache_of_the_apps_own(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    others(host)
    marker = tmp_path / "ran"
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        files = {
            "setup.py": f"try:\n    open({str(marker)!r}, 'w').close()\nexcept OSError:\n    pass\n"
            "from setuptools import setup\nsetup(name='unbuilt', version='1', py_modules=[])\n",
            "PKG-INFO": "Metadata-Version: 2.1\nName: unbuilt\nVersion: 1\n",
        }
        for name, text in files.items():
            member = tarfile.TarInfo(f"unbuilt-1/{name}")
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    (tmp_path / "unbuilt-1.tar.gz").write_bytes(packed.getvalue())
    monkeypatch.setenv("UV_FIND_LINKS", str(tmp_path))
    stager = host.stager()
    made = staged(host, "sdist", {"requirements.txt": "unbuilt\n"}, stager=stager)
    assert "there is no wheel of unbuilt: it is built in a cell, for this app alone" in host.log("sdist").read_text()
    assert not marker.exists()
    assert any((host.root / "cells/sdist/cache/uv").rglob("*unbuilt*"))
    assert not any((host.root.parent / "cache").rglob("*unbuilt*"))
    again = staged(host, "sdist", {"requirements.txt": "unbuilt\niniconfig\n"}, stager=stager)
    assert again.environment != made.environment
    assert host.log("sdist").read_text().count("there is no wheel") == 1  # it is known from the environment before


def test_code_that_a_wheel_starts_with_the_interpreter_never_runs_as_the_daemon(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = tmp_path / "ran"
    with zipfile.ZipFile(tmp_path / "starting-1.0-py3-none-any.whl", "w") as wheel:
        info = "starting-1.0.dist-info"
        wheel.writestr("starting.pth", f"import os; os.path.isdir({str(tmp_path)!r}) and open({str(marker)!r}, 'w')\n")
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: starting\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("UV_FIND_LINKS", str(tmp_path))
    stager = host.stager()
    requirements = "starting\ngunicorn<21\n"  # which needs a setuptools, by a command of its own

    async def stage_and_compile() -> Staged:
        build = host.build("pth", {"wsgi.py": WSGI, "requirements.txt": requirements}, runtime="3.12")
        made = await stager.stage(
            "pth", build, host.log("pth"), host.progress.append, kept=host.root / "kept", cell=cell_of(host, "pth")
        )
        compiling = asyncio.create_task(stager.compile_ahead())
        packages = Path(made.environment, "lib/python3.12/site-packages")
        async with asyncio.timeout(60):
            while not (packages / "gunicorn/__pycache__").is_dir():
                await asyncio.sleep(0.05)
        compiling.cancel()
        return made

    made = asyncio.run(stage_and_compile())
    assert "installing setuptools" in host.log("pth").read_text()
    assert list(Path(made.environment).rglob("starting.pth"))
    assert not marker.exists()


@pytest.mark.parametrize(
    "change",
    [
        "(E / 'pyvenv.cfg').write_text(f'home = {E.parent.parent}/homes/other')",
        "(E / 'bin/python').unlink(), (E / 'bin/python').symlink_to(E.parent.parent / 'homes/other/python')",
        "(E / 'bin').rename(E / 'bin2'), (E / 'bin').symlink_to('bin2')",
    ],
)
def test_code_that_changes_the_python_of_its_environment_is_given_none(host: Host, change: str) -> None:
    setup = (
        "from pathlib import Path\n"
        f"E, = (e for e in Path({str(host.environments)!r}).iterdir() if e.is_dir())\n"
        f"(E / 'bin2').exists() or ({change})\n{SETUP}"
    )
    with pytest.raises(StagingError) as refused:
        staged(host, "changing", {"requirements.txt": "./pkg\n", "pkg/setup.py": setup})
    assert "cannot stage changing: " in str(refused.value)
    assert host.finished() == []


@pytest.mark.skipif(bool(NO_MOUNTS), reason=f"no code that builds can list the environments: {NO_MOUNTS}")
def test_a_link_in_the_place_of_a_file_of_ours_is_not_followed(host: Host) -> None:
    others(host)
    shutil.rmtree(host.root / "environments" / "other")
    setup = (
        "from pathlib import Path\n"
        f"E, = (e for e in Path({str(host.environments)!r}).iterdir() if e.is_dir())\n"
        "for name in ('files.txt', 'finished.json'):\n"
        f"    (E / name).is_symlink() or (E / name).symlink_to({str(host.root / 'reconciler.db')!r})\n{SETUP}"
    )
    made = staged(host, "linking", {"requirements.txt": "./pkg\n", "pkg/setup.py": setup})
    assert (host.root / "reconciler.db").read_text() == "theirs"
    assert not Path(made.environment, "finished.json").is_symlink()


def test_a_required_part_that_is_missing_keeps_packages_from_being_built(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reconciler.serving.build_confinements._PARTS", ("user",))  # which no build has yet
    confinements = BuildConfinements(HostSight(StatePaths(state=host.root), required=("user",)))
    cell = replace(cell_of(host, "needy"), confines=partial(confinements.of, STRICT))
    build = host.build("needy", {"wsgi.py": WSGI, "requirements.txt": "./pkg\n", "pkg/setup.py": SETUP})
    with pytest.raises(StagingError, match='isolation requires "user", and it runs as the user of the daemon'):
        asyncio.run(
            host.stager().stage(
                "needy", build, host.log("needy"), host.progress.append, kept=host.root / "kept", cell=cell
            )
        )


@pytest.mark.parametrize(("connects", "needs"), [("ports", False), ("rules", True), ("most", True)])
def test_only_a_build_that_rules_know_needs_to_be_held_by_them(tmp_path: Path, connects: str, needs: bool) -> None:
    listed = replace(STRICT, places=("10.0.0.1",), connects="listed", by_user=True)
    held = {"uid": BUILDER, "gid": BUILDER, "connects": connects}
    confine = BuildConfinements(HostSight(StatePaths(state=tmp_path))).of(
        listed, "/", visible=(), writable=(), held=held
    )
    assert ("require=network" in confine(("true",), {})[0]) is needs


def test_a_package_outside_the_code_is_out_of_sight_unless_mounts_name_it(host: Host, tmp_path: Path) -> None:
    (tmp_path / "setup.py").write_text(SETUP)
    files = {"wsgi.py": WSGI, "requirements.txt": f"pkg @ file://{tmp_path}\n"}
    refused = "Permission denied" if NO_MOUNTS else "Distribution not found at: file://"  # there, and out of reach
    with pytest.raises(StagingError, match=refused):
        staged(host, "outside", files)
    mounted = replace(STRICT, mounts=(Mount(path=str(tmp_path), write=True),))
    confinements = BuildConfinements(HostSight(StatePaths(state=host.root), mounts=(str(tmp_path),)))
    cell = replace(cell_of(host, "outside"), confines=partial(confinements.of, mounted, held=HELD))
    build = host.build("outside", files, runtime="3.12")
    made = asyncio.run(
        host.stager().stage(
            "outside", build, host.log("outside"), host.progress.append, kept=host.root / "kept", cell=cell
        )
    )
    assert version_of(made, "pkg") == "1"


@pytest.mark.parametrize(
    ("said", "package"),
    [
        ("hint: Wheels are required for `docopt` because building from source is disabled for all packages", "docopt"),
        ("  cause: Building source distributions for `p2` is disabled", "p2"),
        ("error: Building source distributions is disabled", ""),
        ("error: Package `x` can't be installed because it is marked as `--no-build` but has no binary", "x"),
    ],
)
def test_what_uv_says_of_a_package_without_a_wheel_is_understood(said: str, package: str) -> None:
    assert needs_build(("Resolving", said)) == f"there is no wheel of {package or 'a package'}"
    assert needs_build(("error: No solution found",)) == ""


def test_installers_in_a_cell_see_the_settings_and_certificates_of_the_host() -> None:
    seen = seen_by_installers({"HOME": "/home/x", "SSL_CERT_FILE": "/ca.pem", "PIP_CERT": "/ca.pem"}, ("/c.txt", "rel"))
    assert seen == ("/home/x/.netrc", "/home/x/.config/uv", "/etc/uv", "/ca.pem", "/c.txt")


def test_a_path_that_a_link_leads_out_of_the_code_is_refused(tmp_path: Path) -> None:
    code = tmp_path / "code"
    (code / "inner").mkdir(parents=True)
    (code / "link").symlink_to("inner")
    (code / "out").symlink_to(tmp_path)
    assert require_within(code, Path("link/sub")) == code / "link/sub"
    with pytest.raises(UnfitFile, match="leads out of"):
        require_within(code, Path("out/sub"))


def test_own_caches_are_removed_on_request_but_for_those_in_use(tmp_path: Path) -> None:
    settings = Settings(manifests=tmp_path, paths=StatePaths(state=tmp_path))
    for name in ("idle", "staging", "shared"):
        settings.paths.builds(name).mkdir(parents=True)
    for name in ("idle", "staging"):
        (settings.paths.build_cell(name) / "cache" / "uv").mkdir(parents=True)
    draft(settings.paths.builds("staging"), "0123456789ab").mkdir()
    assert remove_own_caches(settings) == ("idle",)
    assert not (settings.paths.build_cell("idle") / "cache").exists()
    assert (settings.paths.build_cell("staging") / "cache" / "uv").is_dir()
    assert remove_own_caches(settings) == ()
