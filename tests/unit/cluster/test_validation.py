"""Whatever a valid manifest says, it becomes objects that every Kubernetes from 1.25 on takes, or it is refused."""

import importlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from reconciler.cluster.objects import role
from reconciler.cluster.target import Gateway, IngressClass, Target, Values
from reconciler.cluster.versions import API_VERSIONS, OLDEST
from reconciler.documents.problem import Problem
from reconciler.planning.scaling.instance_range import InstanceRange
from tests.support.exported import GATEWAY, IMAGE, INGRESS, app_of, export, objects
from tests.support.manifest_fields import ALL, context, value_of, with_field

VERSIONS = tuple(f"1.{minor}" for minor in range(25, 38))
ROUTE = Draft202012Validator(
    json.loads((Path(__file__).parents[2] / "support" / "httproute.schema.json").read_text(encoding="utf-8"))
)
EVERYTHING: dict[str, Any] = {
    "port": 8001,
    "services": ["db", {"name": "mail", "binding_name": "smtp.out"}],
    "domains": ["shop.example.com", "*.shop.example.com"],
    "tls": "internal",
    "below": "/shop",
    "workers": 2,
    "env": {"DEBUG": "no", "ZERO": "0123", "SCIENCE": "1e3", "API_KEY": {"file": "key"}, "TOKEN": "hunter2"},
    "env_files": ["shop.env"],
    "release": {"command": "python manage.py migrate", "retry": True},
    "health": {"path": "/healthz", "host": "shop.example.com"},
    "limits": {"memory": "512M", "cpu": 1.5, "disk": "2G"},
    "isolation": "strict",
    "network": {"connect": "none"},
    "processes": {
        "worker": {"command": "celery -A shop worker -n $HOSTNAME", "count": 2, "env": {"KEY": {"file": "k"}}},
        "beat": "celery -A shop beat",
        "Mail_Out": {"command": "python m.py", "ready": {"command": "true"}, "alive": {"command": "true"}},
    },
    "schedules": {"cleanup": {"command": "true", "at": "30 3 * * 7", "zone": "Europe/Berlin"}},
}
VALUES = Values(
    env={"API_KEY": "a"},
    env_lists={"A": "b"},
    vcap="{}",
    database_url="postgresql://u:p@db/x",
    files={"db": {"type": "postgresql", "host": "db.example.com"}, "smtp.out": {"host": "mail.example.com"}},
    parts={"processes.worker": {"KEY": "k"}},
    tls=("cert", "key"),
)
SEVERAL = InstanceRange(least=2, most=6)


def unfit(made: Mapping[str, Any], version: str) -> str:
    """Why a cluster of a version would not take an object, "" if it would."""
    if made["kind"] == "HTTPRoute":
        return "; ".join(error.message for error in ROUTE.iter_errors(made))
    library: Any = importlib.import_module("kubernetes_validate")
    try:
        library.validate(dict(made), version, strict=True)
    except library.ValidationError as error:
        return f"{made['kind']} in {version}: {error.message}"
    return ""


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("target", [INGRESS, GATEWAY], ids=["ingress", "gateway"])
def test_all_that_a_manifest_can_say_is_valid_in_every_version(version: str, target: Target) -> None:
    several = replace(target, instances=SEVERAL, namespace="web", pull_secret="regcred")
    fields = (
        EVERYTHING
        if target is INGRESS
        else {**EVERYTHING, "redirects": ["www.example.com"], "strip": True, "hsts": "1d"}
    )
    found = objects(fields, several, values=VALUES, with_secrets=True)
    assert [why for each in found.values() if (why := unfit(each, version))] == []
    assert unfit(role("web"), version) == ""
    kinds = {each["kind"] for each in found.values()} | {"Role"}
    assert kinds == set(API_VERSIONS) - ({"HTTPRoute"} if target is INGRESS else {"Ingress"})


def test_the_validation_catches_a_field_that_there_is_not() -> None:
    made = json.loads(json.dumps(objects({})["Deployment/shop"]))
    made["spec"]["template"]["spec"]["containers"][0]["redinessProbe"] = {}
    assert "redinessProbe" in unfit(made, VERSIONS[0])
    assert VERSIONS[0] == OLDEST


def fields() -> st.SearchStrategy[dict[str, Any]]:
    """Manifests with some fields, each at a value that makes a difference."""

    def built(paths: list[str]) -> dict[str, Any]:
        document: dict[str, Any] = {}
        for path in paths:
            for name, value in context(path).items():
                document.setdefault(name, value)
            document = with_field(document, path, value_of(path))
        return document

    return st.lists(st.sampled_from(ALL), max_size=6, unique=True).map(built)


TARGETS = st.builds(
    Target,
    image=st.just(IMAGE),
    namespace=st.sampled_from(("", "web")),
    instances=st.sampled_from((InstanceRange(), InstanceRange(least=3), SEVERAL)),
    route=st.sampled_from((None, Gateway(name="public", namespace="infra"), IngressClass(name="traefik"))),
    drain_s=st.integers(0, 30),
    spread=st.sampled_from(("none", "host", "zone")),
)


@given(fields(), TARGETS, st.sampled_from(VERSIONS))
def test_any_manifest_becomes_valid_objects_or_is_refused_with_a_line_and_a_remedy(
    document: dict[str, Any], target: Target, version: str
) -> None:
    try:
        app_of(document)
    except AssertionError:
        return  # no valid manifest
    found = export(document, target)
    assert bool(found.objects) != bool(found.refusals) or not app_of(document).recipe.web
    assert [why for each in found.objects if (why := unfit(each, version))] == []
    assert all(is_helpful(each) for each in found.refusals)


def is_helpful(refusal: Problem) -> bool:
    return refusal.line > 0 and refusal.path != "" and ": " in refusal.message
