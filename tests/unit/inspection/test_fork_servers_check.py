"""What `doctor` says of a gunicorn from which isolated apps cannot be forked."""

from pathlib import Path

import pytest

from reconciler.inspection.checks.fork_servers import gunicorns
from reconciler.inspection.manifests import checked
from reconciler.serving.forkserver.gunicorn_releases import NEWEST, why_unknown
from reconciler.settings.settings import Settings
from reconciler.state.paths import StatePaths


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    found = Settings(manifests=tmp_path / "manifests", paths=StatePaths(state=tmp_path / "state"))
    found.manifests.mkdir()
    (found.manifests / "shop.yaml").write_text("path: .\nisolation: strict\n")
    return found


def _environment(settings: Settings, name: str, release: str) -> None:
    (settings.paths.environments / name / f"lib/python3.13/site-packages/gunicorn-{release}.dist-info").mkdir(
        parents=True
    )


def _found(settings: Settings) -> list[tuple[str, str]]:
    return [(each.level, each.found) for each in gunicorns(settings, checked(settings))]


def test_a_gunicorn_that_is_newer_than_all_that_are_known_is_told_with_what_helps(settings: Settings) -> None:
    assert _found(settings) == []
    _environment(settings, "one", NEWEST)
    assert [level for level, _ in _found(settings)] == ["ok"]
    for name in ("two", "three"):
        _environment(settings, name, "99.1.0")
    (check,) = gunicorns(settings, checked(settings))
    assert check.level == "warn"
    assert check.found == (
        f"2 environments: its gunicorn 99.1.0 is newer than {NEWEST}, the newest that this version of reconciler "
        "knows; an isolated app with it is executed, which takes longer than to fork it"
    )
    assert f"gunicorn=={NEWEST}" in check.advice


def test_a_host_without_isolated_apps_is_told_nothing_of_it(settings: Settings) -> None:
    _environment(settings, "one", "99.1.0")
    (settings.manifests / "shop.yaml").write_text("path: .\n")
    assert _found(settings) == []


@pytest.mark.parametrize(
    ("release", "says"),
    [
        ("20.1.0", "gunicorn 20.1.0 is of no release that is known here"),
        ("99.0", f"gunicorn 99.0 is newer than {NEWEST}"),
        ("28.0.0rc1", "gunicorn 28.0.0rc1 is of no release that is known here"),
        (NEWEST, f"gunicorn is not what was released as {NEWEST}"),
        ("", "gunicorn is of no release that is known here"),
    ],
)
def test_each_gunicorn_that_is_not_known_is_told_why(release: str, says: str) -> None:
    assert says in why_unknown(release)
