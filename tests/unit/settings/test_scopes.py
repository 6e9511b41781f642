"""The scopes of signers in a settings file: what they may be, and what they require."""

import json
from pathlib import Path

import pytest

from reconciler.settings.file import parse
from reconciler.settings.settings import Settings
from reconciler.state.paths import StatePaths

DEFAULTS = Settings(manifests=Path("/m"), paths=StatePaths(state=Path("/s")))
SIGNED = "url: /x, signed: every, signers: {file: s}"
FIRST = "4f1c1d5c0c2f6a3fdc7c1dbb0d5fd9d4c9a2d7be"


def repository(fields: str) -> str:
    return f"git: {{repositories: {{fleet: {{{fields}}}}}}}\n"


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        (f"{SIGNED}, scopes: {{a@x: all}}", "scopes: requires 'first', the commit from which on"),
        (f"url: /x, signed: no, first: {FIRST}, scopes: {{a@x: all}}", "scopes: is for signed commits"),
        (f"{SIGNED}, first: {FIRST}, scopes: {{a@x: some}}", "scopes.a@x: expected all, or a scope such as"),
        (f"{SIGNED}, first: {FIRST}, scopes: {{a@x: {{app: y}}}}", "scopes.a@x.app: unknown field 'app'"),
        (f"{SIGNED}, first: {FIRST}, scopes: {{a@x: {{}}}}", "scopes.a@x: expected all, or a scope such as"),
        (f"{SIGNED}, first: {FIRST}, scopes: {{}}", "scopes: expected scopes by signer"),
    ],
)
def test_a_scope_that_cannot_be_judged_is_told_with_its_place(fields: str, told: str) -> None:
    (problem,) = parse("/h.yaml", repository(fields).encode(), DEFAULTS).problems
    assert f": git.repositories.fleet.{told}" in str(problem)


def test_the_scopes_of_signers_reach_the_repository() -> None:
    scopes = {"a@x": "all", "b@x": {"apps": ["shop", "blog"], "fields": "env"}}
    text = repository(f"{SIGNED}, first: {FIRST}, scopes: {json.dumps(scopes)}") + (
        "origins: {a: {repository: fleet, branch: main}}\n"
    )
    (origin,) = parse("/h.yaml", text.encode(), DEFAULTS).applied(DEFAULTS).origins
    assert origin.repository.scopes == scopes
