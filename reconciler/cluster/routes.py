"""The route to an app: an Ingress, or routes of a Gateway."""

from collections.abc import Iterator

from reconciler.cluster.pods import Object
from reconciler.cluster.secrets import Secrets
from reconciler.cluster.target import Gateway, IngressClass, Target
from reconciler.planning.apps.app import App
from reconciler.planning.fingerprint import Json
from reconciler.planning.routing.routing import Routing

_MOVED = 301  # of the permanent ones the only one that every Gateway has


def routes(app: App, target: Target, secrets: Secrets, port: int) -> Iterator[tuple[str, str, str, Object]]:
    """Yield what leads to the Service of an app, at this port of it."""
    if app.routing is None or not app.recipe.web:
        return
    match target.route:
        case IngressClass():
            yield "Ingress", app.name, "web", {"spec": _ingress(app, app.routing, target.route, secrets)}
        case Gateway():
            yield "HTTPRoute", app.name, "web", {"spec": _route(app, app.routing, target.route, port)}
            if app.routing.redirects:
                spec = _redirects(app.routing, target.route)
                yield "HTTPRoute", f"{app.name}-redirects", "web", {"spec": spec}


def _ingress(app: App, routing: Routing, of: IngressClass, secrets: Secrets) -> Object:
    service: Json = {"service": {"name": app.name, "port": {"name": "http"}}}
    paths: list[Json] = [{"path": routing.below, "pathType": "Prefix", "backend": service}]
    spec: Object = {"ingressClassName": of.name}
    if routing.tls != "off":
        name = secrets.tls.name if secrets.tls is not None else f"{app.name}-tls"
        spec["tls"] = [{"hosts": [*routing.domains], "secretName": name}]
    return {**spec, "rules": [{"host": domain, "http": {"paths": paths}} for domain in routing.domains]}


def _parents(gateway: Gateway) -> list[Json]:
    where: Object = {"namespace": gateway.namespace} if gateway.namespace else {}
    return [{"name": gateway.name, **where}]


def _route(app: App, routing: Routing, gateway: Gateway, port: int) -> Object:
    filters: list[Json] = []
    if routing.strip:
        path: Json = {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}
        filters.append({"type": "URLRewrite", "urlRewrite": {"path": path}})
        told: Json = [{"name": "X-Forwarded-Prefix", "value": routing.below}]
        filters.append({"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": told}})
    if routing.hsts_s is not None:
        header: Json = [{"name": "Strict-Transport-Security", "value": f"max-age={routing.hsts_s:.0f}"}]
        filters.append({"type": "ResponseHeaderModifier", "responseHeaderModifier": {"set": header}})
    rule: Object = {"matches": [{"path": {"type": "PathPrefix", "value": routing.below}}]}
    if filters:
        rule["filters"] = filters
    rule["backendRefs"] = [{"name": app.name, "port": port}]
    return {"parentRefs": _parents(gateway), "hostnames": [*routing.domains], "rules": [rule]}


def _redirects(routing: Routing, gateway: Gateway) -> Object:
    redirect: Json = {"hostname": routing.domains[0], "statusCode": _MOVED}
    filters: list[Json] = [{"type": "RequestRedirect", "requestRedirect": redirect}]
    return {"parentRefs": _parents(gateway), "hostnames": [*routing.redirects], "rules": [{"filters": filters}]}
