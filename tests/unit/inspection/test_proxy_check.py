"""What `doctor` says of the proxy: what is missing or in its way, each with its remedy."""

import os
import pwd
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from reconciler.inspection.checks import proxy as checked
from reconciler.inspection.checks.check import Check
from reconciler.planning.apps.app import App
from reconciler.planning.apps.revision import Source
from reconciler.planning.desired_state import DesiredState
from reconciler.planning.routing.route import Front
from reconciler.planning.routing.routing import Routing
from reconciler.planning.services.service import Service
from reconciler.settings.proxy import Proxy, ProxyFile
from reconciler.settings.settings import Settings
from reconciler.state.paths import StatePaths


@dataclass(frozen=True, slots=True, kw_only=True)
class Desired:
    """All that is desired of a host."""

    apps: Mapping[str, App] = field(default_factory=dict)
    services: Mapping[str, Service] = field(default_factory=dict)


NOTHING = Desired()
SHOP = App(
    name="shop", manifest="/m/shop.yaml", source=Source(path="/"), address=None,
    routing=Routing(domains=("shop.example.com",)),
)  # fmt: skip


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(manifests=tmp_path / "manifests", paths=StatePaths(state=tmp_path / "state"))


@pytest.fixture
def caddy(tmp_path: Path) -> Path:
    """A program that says it is a Caddy of today."""
    return program(tmp_path / "caddy", "v2.11.7 h1:abc")


def program(place: Path, version: str) -> Path:
    place.write_text(f"#!/bin/sh\necho '{version}'\n")
    place.chmod(0o755)
    return place


def found(settings: Settings, proxy: Proxy | None, desired: DesiredState = NOTHING) -> dict[str, Check]:
    checks = list(checked.proxy(replace(settings, proxy=proxy), desired))
    assert [check for check in checks if check.level != "ok" and not check.advice] == []
    return {check.subject: check for check in checks}


def free_ports() -> tuple[int, int]:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        return one.getsockname()[1], other.getsockname()[1]


def kept(caddy: Path, ports: tuple[int, int] | None = None) -> Proxy:
    http, https = ports or free_ports()
    return Proxy(run=True, program=str(caddy), front=Front(http=http, https=https, address="127.0.0.1"))


def test_domains_without_a_proxy_are_told_of_and_nothing_where_there_are_none(settings: Settings) -> None:
    assert found(settings, None) == {}
    told = found(settings, None, Desired(apps={"shop": SHOP}))["proxy"]
    assert (told.level, "'proxy: {type: caddy, run: true}'" in told.advice) == ("warn", True)


def test_a_caddy_is_named_with_its_version_and_an_old_one_with_what_it_closes(
    settings: Settings, caddy: Path, tmp_path: Path
) -> None:
    told = found(settings, kept(caddy))
    assert told["proxy"].level == "ok"
    assert "Caddy 2.11.7" in told["proxy"].found
    old = found(settings, kept(program(tmp_path / "old", "2.6.2")))["proxy"]
    assert (old.level, "closes every websocket" in old.found, "reconciler[proxy]" in old.advice) == ("warn", True, True)


def test_a_missing_caddy_is_told_with_what_installs_it(settings: Settings, tmp_path: Path) -> None:
    told = found(settings, kept(tmp_path / "none"))["proxy"]
    assert told.level == "fail"
    assert "apt install caddy" in told.advice


def test_a_port_is_free_or_taken_by_a_program_that_is_named(settings: Settings, caddy: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        http, _ = free_ports()
        https = taken.getsockname()[1]
        told = found(settings, kept(caddy, (http, https)))
    assert (told[f"port {http}"].level, told[f"port {http}"].found) == ("ok", "free")
    assert told[f"port {https}"].level == "fail"
    assert f"(pid {os.getpid()})" in told[f"port {https}"].found


def test_a_low_port_that_only_root_may_open_is_told_with_the_setting(
    settings: Settings, caddy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(checked, "number_in", lambda _: 1024)
    told = found(settings, kept(caddy, (81, 444)))["port 81"]
    assert (told.level, "ip_unprivileged_port_start=81" in told.advice) == ("fail", True)


def test_an_admin_socket_that_nobody_answers_is_told(settings: Settings, tmp_path: Path) -> None:
    told = found(settings, Proxy(admin=tmp_path / "admin.sock"))["proxy"]
    assert (told.level, "cannot reach the proxy" in told.found, "admin unix/" in told.advice) == ("fail", True, True)


def test_another_proxy_needs_its_commands_and_a_directory_to_write_to(settings: Settings, tmp_path: Path) -> None:
    def told(**options: object) -> Check:
        given = {"format": "nginx", "path": tmp_path / "ours.conf", "reload": ("true",), **options}
        return found(settings, Proxy(file=ProxyFile(**given)))["proxy"]  # type: ignore[arg-type]

    assert told().level == "ok"
    assert told(check=("no-such-nginx", "-t")).found == "no-such-nginx is no program on PATH"
    assert told(path=tmp_path / "none/ours.conf").level == "fail"


def test_a_directory_of_static_files_that_the_proxys_user_may_not_enter_is_told(
    settings: Settings, tmp_path: Path
) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    file = ProxyFile(format="nginx", path=tmp_path / "ours.conf", reload=("true",))
    told = found(settings, Proxy(file=file, static=closed / "static"))["static files"]
    assert told.level == "fail"
    assert told.advice.startswith("chmod o+x /")


def test_a_directory_of_sockets_is_told_with_what_makes_it(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tmp_path / "sockets"
    file = ProxyFile(format="nginx", path=tmp_path / "ours.conf", reload=("true",))

    def told() -> Check:
        check = found(settings, Proxy(file=file, sockets=directory))["sockets"]
        assert check.level == "ok" or f"install -d -o {pwd.getpwuid(os.geteuid()).pw_name} -g GROUP" in check.advice
        return check

    assert "is no directory" in told().found
    directory.mkdir(mode=0o700)
    assert "its group may not enter" in told().found
    directory.chmod(0o750)
    assert "which is the daemon's own" in told().found
    monkeypatch.setattr(checked, "_has_members", lambda _: True)
    assert told().level == "ok"
    monkeypatch.setattr(os, "getegid", lambda: 54321)
    monkeypatch.setattr(os, "getgroups", lambda: [54321])
    user = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: user or 65534)
    assert "cannot be given to its group" in told().found
    directory.chmod(0o2750)
    assert told().level == "ok"
    monkeypatch.setattr(os, "access", lambda path, _: path != directory)
    assert "cannot write" in told().found
