"""The schemas are true of their own examples, describe every field, and accept what the documentation shows."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from jsonschema.validators import extend

from reconciler.documents.fitting import surely_fits
from reconciler.documents.schemas import _bare, fits, schema, validator

KINDS = ("app", "service", "fleet")

DOCUMENTED = """
name: blog
runtime: python3.12
path: ../apps/blog
services: [blog-db, cache]
entrypoint: wsgi:application
dependencies: requirements.txt
port: 8001
host: 127.0.0.1
workers: 2
threads: 4
worker_class: gthread
gunicorn: {max_requests: 1000}
env: {LOG_LEVEL: info, API_KEY: {file: secrets/api-key}}
release: python manage.py migrate --noinput
health: {path: /healthz, host: blog.example.com, interval: 10s, timeout: 2s, failures: 3, start_timeout: 60s}
probation: 10s
stop_timeout: 30s
idle_after: 15m
start: eager
depends_on: [api]
state: running
patience: 5s
holding_page: static/503.html
watch: true
---
kind: service
name: blog-db
type: postgresql
plan: free
label: postgresql-9.1
retain: true
"""


def fields(node: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, child in node.get("properties", {}).items():
        yield f"{path}.{name}", child
        yield from fields(child, f"{path}.{name}")
    for keyword in ("items", "additionalProperties"):
        child = node.get(keyword)
        if isinstance(child, dict):
            yield f"{path}.{keyword}", child
            yield from fields(child, f"{path}.{keyword}")


def every_field() -> list[Any]:
    return [pytest.param(kind, child, id=path) for kind in KINDS for path, child in fields(schema(kind), kind)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_schema_is_a_schema(kind: str) -> None:
    Draft202012Validator.check_schema(schema(kind))
    assert schema(kind)["additionalProperties"] is False


@pytest.mark.parametrize("kind", KINDS)
def test_examples_of_whole_documents_are_valid(kind: str) -> None:
    for example in schema(kind)["examples"]:
        validator(kind).validate(example)


@pytest.mark.parametrize(("kind", "child"), every_field())
def test_every_field_is_described_with_valid_examples(kind: str, child: dict[str, Any]) -> None:
    assert child["description"].endswith(".")
    assert child["examples"]
    whole = {**child, "$defs": schema(kind).get("$defs", {})}
    for value in [*child["examples"], *([child["default"]] if "default" in child else [])]:
        type(validator(kind))(whole).validate(value)


@pytest.mark.parametrize(("kind", "child"), every_field())
def test_every_field_says_what_it_expects(kind: str, child: dict[str, Any]) -> None:
    resolved = schema(kind)["$defs"]["duration"] if "$ref" in child else child
    assert resolved["errorMessage"].startswith("expected ")


@pytest.mark.parametrize("kind", [*KINDS, "host"])
def test_what_checks_documents_has_every_rule_of_a_schema_and_none_of_its_words(kind: str) -> None:
    def without_words(found: dict[str, Any]) -> dict[str, Any]:
        words = ("title", "description", "errorMessage")
        return {name: said for name, said in found.items() if name not in words or isinstance(said, dict)}

    text = json.dumps(schema(kind))
    assert _bare(kind) == json.loads(text, object_hook=without_words)
    assert "errorMessage" not in json.dumps(_bare(kind))


def test_the_documented_manifest_is_valid() -> None:
    app, service = yaml.safe_load_all(DOCUMENTED)
    validator("app").validate(app)
    validator("service").validate(service)
    assert set(schema("app")["properties"]) - set(app) == {
        "kind", "crash", "access_log", "env_files", "persist", "processes", "schedules", "source", "web",
        "command", "listen", "build", "domains", "redirects", "below", "strip", "tls", "http", "hsts", "body_limit",
        "answer_timeout", "login", "allow_from", "static", "limits",
        "canary",
        "isolation", "mounts", "network", "place", "instances",
    }  # fmt: skip


def test_the_documented_manifest_is_the_one_in_the_design() -> None:
    design = Path(__file__).parents[4] / "shared" / "design.md"
    if not design.exists():
        pytest.skip("the design is not beside this checkout")
    block = design.read_text().split("## Manifest\n")[1].split("\nHost settings")[0]
    documents = list(yaml.safe_load_all("\n".join(line.removeprefix("    ") for line in block.splitlines())))
    assert documents == list(yaml.safe_load_all(DOCUMENTED))


@pytest.mark.parametrize("value", ["python3.12", "3.12", 3.12, 3, "python2", "python3", "/usr/bin/python3"])
def test_a_runtime_may_be_text_or_a_number(value: object) -> None:
    assert validator("app").is_valid({"path": "x", "runtime": value})


def test_only_a_user_provided_service_has_credentials() -> None:
    service = {"kind": "service", "name": "mail", "type": "user-provided"}
    assert not validator("service").is_valid(service)
    assert validator("service").is_valid({**service, "credentials": {"host": "x"}})
    assert not validator("service").is_valid({**service, "type": "redis", "credentials": {"host": "x"}})


VALUES: tuple[object, ...] = (
    None,
    True,
    3,
    -1,
    2.5,
    "",
    "x",
    "10s",
    "bad\n",
    "a: b",
    "x" * 200,
    [],
    ["x"],
    ["x", "x"],
    {},
    {"path": 1},
)


@pytest.mark.parametrize("kind", ["app", "service", "host", "fleet"])
def test_the_quick_look_at_given_fields_finds_all_that_a_look_at_every_field_finds(kind: str) -> None:
    untyped: Any = extend
    properties = {"properties": Draft202012Validator.VALIDATORS["properties"]}
    thorough = untyped(type(validator(kind)), properties)(schema(kind))

    def found(checker: Any, document: object) -> list[tuple[object, ...]]:
        return [(*e.absolute_path, e.validator, e.message) for e in checker.iter_errors(document)]

    refused = 0
    for name, field in schema(kind)["properties"].items():
        nested = [{inner: value} for inner in field.get("properties", ()) for value in VALUES]
        for value in (*VALUES, *nested, *field.get("examples", ())):
            document = {name: value, "unknown": value}
            assert found(validator(kind), document) == found(thorough, document)
            assert not fits(kind, document)
            assert fits(kind, {name: value}) == (not found(thorough, {name: value}))
            refused += len(found(thorough, {name: value})) > len(found(thorough, {}))
    assert refused > 40


# As many documents of each kind as have the fields that the kind requires, so that one more decides whether they fit.
WHOLE: dict[str, dict[str, object]] = {
    "app": {"path": "../apps/blog"},
    "service": {"kind": "service", "name": "db", "type": "sqlite"},
    "host": {},
    "fleet": {
        "kind": "fleet",
        "hosts": {"web1": {"key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"}},
        "waves": [{"name": "all"}],
    },
}


@pytest.mark.parametrize("kind", ["app", "service", "host", "fleet"])
def test_the_look_without_the_library_says_of_every_document_what_the_library_says(kind: str) -> None:
    whole, fitting, refused = WHOLE[kind], 0, 0
    for name, field in schema(kind)["properties"].items():
        parts = field.get("properties", {}) or field.get("items", {}).get("properties", {})
        nested = [{inner: value} for inner in parts for value in VALUES]
        listed = [[value] for value in (*VALUES, *nested)]
        for value in (*VALUES, 3.0, 0, False, *nested, *listed, *field.get("examples", ())):
            document = {**whole, name: value}
            expected = validator(kind).is_valid(document)
            assert fits(kind, document) == expected, document
            fitting, refused = fitting + expected, refused + (not expected)
    assert refused > 40
    assert fitting > 5


def test_a_keyword_that_the_look_does_not_know_is_left_to_the_library() -> None:
    assert not surely_fits("x", {"format": "email"}, {})
    assert not surely_fits("x", {"not": {"format": "email"}}, {})
    assert not surely_fits({}, {"$ref": "#/$defs/none"}, {})
