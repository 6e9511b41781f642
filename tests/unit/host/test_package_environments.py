"""The variables for installing are put together once, and again only where a file may have changed."""

from collections.abc import Mapping
from pathlib import Path

from reconciler.host.staging_settings import package_environments
from reconciler.settings.settings import Settings
from reconciler.state.paths import StatePaths


def _settings(staging_env: Mapping[str, str | Path]) -> Settings:
    return Settings(manifests=Path("/m"), paths=StatePaths(state=Path("/s")), staging_env=staging_env)


def test_variables_without_a_file_are_put_together_once() -> None:
    read = package_environments(_settings({"UV_INDEX_URL": "https://one"}), {"PATH": "/bin"})
    assert read() is read()
    assert read()["UV_INDEX_URL"] == "https://one"
    assert read()["PATH"] == "/bin"


def test_a_changed_password_in_a_file_applies_at_once(tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("one\n")
    read = package_environments(_settings({"INDEX_PASSWORD": password}), {})
    assert read()["INDEX_PASSWORD"] == "one"
    password.write_text("two\n")
    assert read()["INDEX_PASSWORD"] == "two"
