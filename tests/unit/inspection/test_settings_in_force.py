"""The settings that hold on a host are listed by name, each with its value and whether it is the default."""

from dataclasses import replace
from pathlib import Path

from reconciler.inspection.settings_in_force import settings_in_force
from reconciler.settings.settings import Settings
from reconciler.state.paths import StatePaths


def test_every_setting_is_listed_in_the_order_of_the_names() -> None:
    settings = replace(Settings(manifests=Path("/m"), paths=StatePaths(state=Path("/s"))), staging_timeout_s=60.0)
    found = list(settings_in_force(settings))
    paths = [each.path.split(".") for each in found]
    assert paths == sorted(paths)
    assert [each.path for each in found if not each.is_default] == ["staging.timeout"]
