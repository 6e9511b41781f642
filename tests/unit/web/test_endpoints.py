"""The API's one table: routes, parameters and documentation say the same."""

import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from starlette.requests import Request

from reconciler.settings.settings import Settings
from reconciler.state.paths import StatePaths
from reconciler.web.answer_schemas import SCHEMAS
from reconciler.web.api import Api
from reconciler.web.authentication import Access
from reconciler.web.context import WebContext
from reconciler.web.endpoints import AFTER, ENDPOINTS, LIMIT, WHICH
from reconciler.web.openapi import document
from reconciler.web.responses import Problem
from reconciler.web.status_cache import StatusCache
from tests.support.documents import DOCS

_ROW = re.compile(r"^\| `(GET|POST) ([^`?]+)(?:\?([^`]*))?` \|", re.MULTILINE)


def _request(query: str) -> Request:
    return Request({"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": query.encode()})


def test_the_reference_lists_every_endpoint_with_its_parameters_and_no_other() -> None:
    page = (DOCS / "reference" / "api.md").read_text(encoding="utf-8")
    listed = {(method, path, tuple(re.findall(r"(\w+)=", query))) for method, path, query in _ROW.findall(page)}
    assert listed == {
        (each.method, each.path, tuple(p.name for p in each.parameters if p.place == "query")) for each in ENDPOINTS
    }


def test_every_endpoint_has_a_route_and_an_operation_in_the_openapi_document(tmp_path: Path) -> None:
    settings = Settings(manifests=tmp_path, paths=StatePaths(state=tmp_path))
    access = Access(None, tmp_path / "sessions", tmp_path / "links")
    context = WebContext(settings=settings, status_cache=StatusCache(settings), access=access)
    routes = {(method, route.path) for route in Api(context).routes() for method in route.methods or ()}
    assert {(each.method, each.path) for each in ENDPOINTS} == routes - {("HEAD", route) for _, route in routes}
    paths: Mapping[str, Mapping[str, object]] = document()["paths"]
    assert {(each.method.lower(), each.path) for each in ENDPOINTS} == {
        (method, path) for path, operations in paths.items() for method in operations
    }


def test_every_schema_that_the_document_refers_to_is_in_it() -> None:
    assert set(re.findall(r"#/components/schemas/(\w+)", repr(document()))) <= set(SCHEMAS)


def test_a_parameter_has_the_default_and_the_bounds_that_the_document_states() -> None:
    assert (LIMIT.read(_request("")), LIMIT.read(_request("limit=7"))) == (100, 7)
    assert (WHICH.read(_request("")), WHICH.read(_request("which=staging"))) == ("app", "staging")
    for query in ("limit=0", "limit=1001", "limit=x", "limit=", "limit=-1", "limit=1_0", "limit=\u0661"):
        with pytest.raises(Problem, match="'limit' must be an integer from 1 to 1000"):
            LIMIT.read(_request(query))
    with pytest.raises(Problem, match="'after'"):
        AFTER.read(_request("after=99999999999999999"))
    with pytest.raises(Problem, match="'which' must be one of app, access, staging"):
        WHICH.read(_request("which=../../token"))
