"""The generated gunicorn configuration, read as gunicorn reads it."""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.config import make_settings  # type: ignore[import-untyped]

from reconciler.planning.address import Address
from reconciler.planning.apps.revision import Build, Recipe, Revision, Server, Source
from reconciler.planning.isolation.limits import Limits
from reconciler.serving import gate, launcher
from reconciler.serving.marks import Identity
from reconciler.serving.programs.gunicorn import Code, InjectedEnv, InstancePaths, config_text, environment
from reconciler.state.paths import StatePaths

_LAUNCHER: Any = launcher  # untyped, as Python 2.7 runs it
_CODE = Code(
    directory="/code", python="/bin/python", target="wsgi:application", worker_class="sync", runtime="python 3"
)


def a_revision(server: Server = Server(), env: Mapping[str, str] | None = None) -> Revision:
    build = Build(source=Source(path="/src"), recipe=Recipe(), content="1")
    return Revision(app="blog", build=build, address=Address(host="127.0.0.1", port=8000), server=server, env=env or {})


@pytest.fixture
def configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Read the config of an instance in that state directory as the launcher has gunicorn do."""
    monkeypatch.setenv("RECONCILER_APP", "blog")
    monkeypatch.setenv("RECONCILER_INSTANCE", "i1")

    def read(state: str, server: Server = Server(), preloaded: Mapping[str, object] | None = None) -> dict[str, Any]:
        paths = InstancePaths.of(StatePaths(state=Path(state)), "blog")
        config = tmp_path / "gunicorn.config"
        config.write_text(config_text(a_revision(server), _CODE, paths, 1))
        settings: dict[str, Any] = _LAUNCHER.read_config(str(config), preloaded or {}, "")
        return settings

    return read


@pytest.mark.parametrize("state", ["/s/\U0001f680", "/s/é", os.fsdecode(b"/s/\xff"), '/s/it\'s "here"\\n', "/s/a\nb"])
def test_a_path_of_any_characters_is_what_it_is(state: str, configured: Callable[..., dict[str, Any]]) -> None:
    settings = configured(state)
    assert settings["_gate"].passed == f"{state}/apps/blog/passed/i1"
    assert settings["_gate"].doorbell.startswith(state)


def test_a_gate_that_is_loaded_already_is_not_loaded_again(configured: Callable[..., dict[str, Any]]) -> None:
    loaded = type(configured("/s")["_gate"])
    assert type(configured("/s")["_gate"]) is not loaded
    module = SimpleNamespace(Gate=loaded)
    assert type(configured("/s", preloaded={gate.__file__: module})["_gate"]) is loaded


def test_a_umask_is_applied_only_where_the_manifest_sets_one(configured: Callable[..., dict[str, Any]]) -> None:
    assert not configured("/s")["_gate"].umask
    assert configured("/s", replace(Server(), settings={"umask": 7}))["_gate"].umask


def test_gunicorn_takes_every_hook_of_the_gate(configured: Callable[..., dict[str, Any]]) -> None:
    settings, known = configured("/s"), make_settings()
    hooks = settings["_gate"].hooks()
    assert hooks.keys() <= known.keys()
    for name in hooks:
        known[name].set(settings[name])  # raises for one that takes other arguments


@pytest.mark.parametrize(
    ("env", "path"),
    [
        ({}, "/env/bin:/usr/local/bin:/usr/bin:/bin"),
        ({"PATH": "/opt/tools:/usr/bin"}, "/env/bin:/opt/tools:/usr/bin"),
        ({"PATH": "/opt/tools:/env/bin"}, "/opt/tools:/env/bin"),
    ],
)
def test_a_path_of_the_apps_own_holds_the_commands_of_its_environment(
    env: dict[str, str], path: str, tmp_path: Path
) -> None:
    paths = InstancePaths.of(StatePaths(state=tmp_path), "blog")
    paths.home.mkdir(parents=True)
    code = replace(_CODE, python="/env/bin/python")
    identity = Identity(state="s", instance="i1", started_at=0.0)
    assert environment(a_revision(env=env), code, paths, identity)["PATH"] == path


def test_the_variables_name_the_limits_of_the_app_and_else_what_the_host_has(tmp_path: Path) -> None:
    paths = InstancePaths.of(StatePaths(state=tmp_path), "blog")
    paths.home.mkdir(parents=True)
    identity = Identity(state="s", instance="i1", started_at=0.0)
    given = InjectedEnv(limits=Limits(memory=512 * 2**20, files=4096, disk=2**31))
    limited, free = (environment(a_revision(), _CODE, paths, identity, each) for each in (given, InjectedEnv()))
    assert limited["MEMORY_LIMIT"] == "512m"
    assert json.loads(limited["VCAP_APPLICATION"])["limits"] == {"mem": 2**29, "fds": 4096, "disk": 2**31}
    of_host = json.loads(free["VCAP_APPLICATION"])["limits"]
    assert free["MEMORY_LIMIT"] == f"{of_host['mem'] // 2**20}m"
    assert of_host["mem"] == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
