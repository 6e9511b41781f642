"""The generated gunicorn configuration, read as gunicorn reads it."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reconciler.planning.address import Address
from reconciler.planning.apps.revision import Build, Recipe, Revision, Server, Source
from reconciler.serving.marks import Identity
from reconciler.serving.programs.gunicorn import Code, InstancePaths, config_text, environment
from reconciler.state.paths import StatePaths

_CODE = Code(
    directory="/code", python="/bin/python", target="wsgi:application", worker_class="sync", runtime="python 3"
)


def a_revision(server: Server = Server(), env: Mapping[str, str] | None = None) -> Revision:
    build = Build(source=Source(path="/src"), recipe=Recipe(), content="1")
    return Revision(app="blog", build=build, address=Address(host="127.0.0.1", port=8000), server=server, env=env or {})


def configured(
    state: str, monkeypatch: pytest.MonkeyPatch, server: Server = Server(), **given: object
) -> dict[str, Any]:
    paths = InstancePaths.of(StatePaths(state=Path(state)), "blog")
    monkeypatch.setenv("RECONCILER_APP", "blog")
    monkeypatch.setenv("RECONCILER_INSTANCE", "i1")
    settings: dict[str, Any] = {**given}
    exec(compile(config_text(a_revision(server), _CODE, paths, 1).encode(), "gunicorn.config", "exec"), settings)
    return settings


@pytest.mark.parametrize("state", ["/s/\U0001f680", "/s/é", os.fsdecode(b"/s/\xff"), '/s/it\'s "here"\\n', "/s/a\nb"])
def test_a_path_of_any_characters_is_what_it_is(state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = configured(state, monkeypatch)
    assert settings["_gate"].passed == f"{state}/apps/blog/passed/i1"
    assert settings["_gate"].doorbell.startswith(state)


def test_a_gate_that_is_loaded_already_is_not_loaded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = configured("/s", monkeypatch)["_program"]
    assert configured("/s", monkeypatch)["_program"] is not loaded
    assert configured("/s", monkeypatch, _preloaded={loaded.__file__: loaded})["_program"] is loaded


def test_a_umask_is_applied_only_where_the_manifest_sets_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not configured("/s", monkeypatch)["_gate"].umask
    assert configured("/s", monkeypatch, replace(Server(), settings={"umask": 7}))["_gate"].umask


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
