"""The OpenAPI document of the API, made from its table of endpoints."""

from collections import defaultdict
from typing import Any

from reconciler.web.answer_schemas import SCHEMAS, Schema
from reconciler.web.endpoints import ENDPOINTS, Endpoint, Parameter
from reconciler.web.streaming import MEDIA_TYPE

_EVERYWHERE = (401, 421, 503)


def document() -> dict[str, Any]:
    """Return the document, OpenAPI 3.1."""
    paths: dict[str, dict[str, Any]] = defaultdict(dict)
    for endpoint in ENDPOINTS:
        paths[endpoint.path][endpoint.method.lower()] = _operation(endpoint)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "reconciler",
            "version": "1",
            "description": "The state of the apps on a host, the reasons for it, and what happened.",
        },
        "paths": paths,
        "components": {"schemas": SCHEMAS, "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
        "security": [{}, {"token": []}],
    }


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    content: dict[str, Any] = {endpoint.media_type: {"schema": endpoint.answer}}
    if endpoint.streams:
        content[MEDIA_TYPE] = {"schema": {"type": "string"}}
    operation: dict[str, Any] = {
        "operationId": endpoint.name,
        "summary": endpoint.summary,
        "parameters": [_parameter(each) for each in endpoint.parameters],
        "responses": {
            "200": {"description": endpoint.summary, "content": content},
            **{str(status): _PROBLEM for status in sorted({*_EVERYWHERE, *endpoint.problems})},
        },
    }
    if endpoint.body is not None:
        operation["requestBody"] = {"required": True, "content": _json(endpoint.body)}
    return operation


def _parameter(parameter: Parameter) -> dict[str, Any]:
    described = {"name": parameter.name, "in": parameter.place, "description": parameter.description}
    return {**described, "schema": parameter.schema, **({"required": True} if parameter.place == "path" else {})}


def _json(schema: Schema) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


_PROBLEM = {
    "description": "Why the request was not answered.",
    "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
}
