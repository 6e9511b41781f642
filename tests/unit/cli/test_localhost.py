"""Every app at a name of this machine: by a Caddy if there is one and its ports are free, else a line says why."""

import socket
from pathlib import Path

import pytest

from reconciler.cli import localhost
from reconciler.cli.localhost import with_localhost
from reconciler.planning.routing.route import Front
from reconciler.settings.settings import Settings
from reconciler.state.paths import StatePaths


@pytest.fixture
def plain(tmp_path: Path) -> Settings:
    return Settings(manifests=tmp_path, paths=StatePaths(state=tmp_path / "state"))


def test_without_a_caddy_it_says_so_and_changes_nothing(
    plain: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(localhost, "found", lambda _: None)
    assert with_localhost(plain) is plain
    assert capsys.readouterr().err.startswith(
        "apps are not served at https://NAME.localhost:8443: no Caddy is installed"
    )


def test_each_app_gets_a_name_unless_another_program_has_a_port(
    plain: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(localhost, "found", lambda _: "/usr/bin/caddy")
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        monkeypatch.setattr(localhost, "_FRONT", Front(http=taken, https=taken, address="127.0.0.1"))
        assert with_localhost(plain) is plain
        assert f"another program has port {taken}" in capsys.readouterr().err
    capsys.readouterr()
    proxy = with_localhost(plain).proxy
    assert proxy is not None
    assert (proxy.run, proxy.domain, proxy.front.https) == (True, "{app}.localhost", taken)
    said = capsys.readouterr().err
    assert f"apps are served at https://NAME.localhost:{taken}; browsers warn" in said
    assert str(plain.paths.proxy) in said
