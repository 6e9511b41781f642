"""The check of `doctor` for the programs of apps that are not Python's."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from reconciler.inspection.checks.software import programs
from reconciler.manifests.app_document import HostDefaults
from reconciler.manifests.parse_file import parse
from reconciler.planning.apps.app import App
from reconciler.planning.services.service import Service


@dataclass(frozen=True)
class Desired:
    apps: Mapping[str, App]
    services: Mapping[str, Service]


def desired(root: Path, **manifests: str) -> Desired:
    apps = {}
    for number, (name, text) in enumerate(manifests.items()):
        (root / name).mkdir()
        (parsed,) = parse(str(root / f"{name}.yaml"), f"path: {name}\n{text}".encode(), HostDefaults()).apps
        apps[name] = parsed.app(8000 + number)
    return Desired(apps=apps, services={})


def test_a_missing_program_is_named_with_the_apps_that_need_it_and_its_package(tmp_path: Path) -> None:
    found = list(
        programs(desired(tmp_path, blog="command: yarn start", shop="build: yarn install\ncommand: ./x", plain=""))
    )
    told = [(check.level, check.found, check.advice) for check in found]
    advice = "install the package yarnpkg (`apt install yarnpkg` on Debian and Ubuntu)"
    assert ("warn", "yarn is missing, which blog, shop need", advice) in told


def test_hosts_without_such_apps_hear_nothing_of_them(tmp_path: Path) -> None:
    apps = desired(tmp_path, blog="", shop="entrypoint: wsgi:app", jobs="web: false\nprocesses: {w: python w.py}")
    assert list(programs(apps)) == []
