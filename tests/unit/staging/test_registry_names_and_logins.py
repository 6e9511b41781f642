"""Names of images in registries, and the logins of a Docker configuration and of its credential helpers."""

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest

from reconciler.staging.images.reference import Reference, RegistryError, reference_of
from reconciler.staging.images.registry_login import Login, login_for

SECRET = "s3cr3t"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("registry.example.com/web/shop:1", ("registry.example.com", "web/shop", "1")),
        ("localhost/shop", ("localhost", "shop", "")),
        ("127.0.0.1:5000/a/b-c__d/e.f", ("127.0.0.1:5000", "a/b-c__d/e.f", "")),
        ("[::1]:5000/shop:v1.0_x", ("[::1]:5000", "shop", "v1.0_x")),
    ],
)
def test_a_name_has_a_host_a_repository_and_perhaps_a_tag(text: str, parts: tuple[str, str, str]) -> None:
    registry, repository, tag = parts
    assert reference_of(text) == Reference(registry=registry, repository=repository, tag=tag)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("shop", "does not begin with the host"),
        ("web/shop:1", "does not begin with the host"),
        ("https://registry.example.com/shop", "begins with a scheme"),
        ("registry.example.com/shop@sha256:12", "has a digest"),
        ("registry.example.com/Shop", "is no repository"),
        ("registry.example.com/../shop", "is no repository"),
        ("registry.example.com/shop?x", "is no repository"),
        ("registry.example.com/shop:", "is no tag"),
        ("registry.example.com/shop:a b", "is no tag"),
        ("kim:hush.@h/shop", "has a digest"),
        ("regis try.example/shop", "does not begin with the host"),
    ],
)
def test_another_name_is_refused_with_what_was_expected(text: str, why: str) -> None:
    with pytest.raises(RegistryError, match=why):
        reference_of(text)


def configuration(directory: Path, **fields: Any) -> Path:
    file = directory / "config.json"
    file.write_text(json.dumps(fields))
    return file


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("entry", "login"),
    [
        ({"auth": encoded(f"kim:{SECRET}:x")}, Login(user="kim", password=f"{SECRET}:x")),
        ({"username": "kim", "password": SECRET}, Login(user="kim", password=SECRET)),
        (
            {"auth": encoded("kim:"), "identitytoken": SECRET},
            Login(user="kim", refresh_token=SECRET),
        ),
        ({"registrytoken": SECRET}, Login(token=SECRET)),
        ({}, None),
    ],
)
def test_a_login_is_read_from_a_docker_configuration(tmp_path: Path, entry: Any, login: Login | None) -> None:
    file = configuration(tmp_path, auths={"r.example": entry, "other.example": {"auth": "?"}})
    assert login_for("r.example", file) == login
    assert login_for("r.example", None, {"DOCKER_CONFIG": str(tmp_path)}) == login
    assert login_for("none.example", file) is None


def test_without_a_configuration_there_is_no_login(tmp_path: Path) -> None:
    assert login_for("r.example", None, {"HOME": str(tmp_path)}) is None
    with pytest.raises(RegistryError, match="does not exist"):
        login_for("r.example", tmp_path / "config.json")


@pytest.mark.parametrize("text", [f"{{{SECRET}", f'{{"auths": {{"r.example": {{"auth": "{SECRET}?"}}}}}}'])
def test_a_configuration_that_cannot_be_read_is_named_and_not_shown(tmp_path: Path, text: str) -> None:
    file = tmp_path / "config.json"
    file.write_text(text)
    with pytest.raises(RegistryError) as raised:
        login_for("r.example", file)
    assert str(file) in str(raised.value)
    assert (raised.value.__cause__, raised.value.__suppress_context__) == (None, True)
    assert SECRET not in str(raised.value)


def helper(directory: Path, script: str) -> dict[str, str]:
    program = directory / "docker-credential-ours"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return {"PATH": f"{directory}:{os.environ['PATH']}", "HOME": str(directory)}


@pytest.mark.parametrize("field", [{"credHelpers": {"r.example": "ours"}}, {"credsStore": "ours"}])
def test_a_credential_helper_is_asked_and_gets_the_host_at_its_input(tmp_path: Path, field: Any) -> None:
    login = f'{{"Username": "kim", "Secret": "{SECRET}"}}'
    environ = helper(tmp_path, f'[ "$*" = get ] && read -r host; [ "$host" = r.example ] && echo \'{login}\'')
    os.environ["PATH"], before = environ["PATH"], os.environ["PATH"]
    try:
        assert login_for("r.example", configuration(tmp_path, **field), environ) == Login(user="kim", password=SECRET)
        helper(tmp_path, f'echo \'{{"Username": "<token>", "Secret": "{SECRET}"}}\'')
        assert login_for("r.example", configuration(tmp_path, **field), environ) == Login(refresh_token=SECRET)
        helper(tmp_path, "echo credentials not found in native keychain; exit 1")
        assert login_for("r.example", configuration(tmp_path, **field), environ) is None
        for script in (f"echo {SECRET}; echo {SECRET} >&2; exit 3", f"echo {SECRET}"):
            helper(tmp_path, script)
            with pytest.raises(RegistryError, match="docker-credential-ours") as raised:
                login_for("r.example", configuration(tmp_path, **field), environ)
            assert SECRET not in str(raised.value)
    finally:
        os.environ["PATH"] = before


@pytest.mark.parametrize("name", ["../evil", "a b", "", "-x", "none-such"])
def test_a_helper_that_is_none_is_not_run(tmp_path: Path, name: str) -> None:
    file = configuration(tmp_path, credHelpers={"r.example": name})
    if not name:
        assert login_for("r.example", file) is None
        return
    with pytest.raises(RegistryError, match=r"is no name of a credential helper|which is not on PATH"):
        login_for("r.example", file)
