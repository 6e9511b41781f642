"""Make the part of Caddy's configuration about certificates: of which authority, and which are read from files."""

from typing import Any, TypeAlias

from reconciler.planning.routing import linked_names
from reconciler.planning.routing.domain_names import is_private
from reconciler.planning.routing.route import Front, Route

Config: TypeAlias = dict[str, Any]

MARK = "reconciler"
# Nanoseconds. An authority of one's own may make certificates of minutes; by itself Caddy looks at them every ten.
_RENEWED_EVERY = 60 * 1_000_000_000


def certified(routes: tuple[Route, ...], front: Front, *, links: bool = False) -> Config:
    """Return which authority certifies which names, and which certificates are read from files."""
    internal, public = set[str](), set[str]()
    for route in routes:
        names = route.routing.names
        if route.routing.tls == "internal":
            internal.update(names)
        elif route.routing.tls == "auto":
            private = {name for name in names if is_private(name)} if not front.ca else set[str]()
            internal |= private
            public.update(set(names) - private)
    policies: list[Config] = []
    issuer = _issuer(front)
    if public and (issuer or links):
        chosen = {"issuers": [issuer]} if issuer else {}
        policies.append({"@id": f"{MARK}:auto", "subjects": sorted(public), **chosen})
    if internal:
        internal_issuer = {"module": "internal"}
        policies.append({"@id": f"{MARK}:internal", "subjects": sorted(internal), "issuers": [internal_issuer]})
    files = {
        (route.routing.certificate.chain, route.routing.certificate.key, route.certificate_id)
        for route in routes
        if route.routing.certificate is not None
    }
    loaded = [
        {"@id": f"{MARK}:files:{number}", "certificate": chain, "key": key, "tags": [f"{MARK}-{content}"]}
        for number, (chain, key, content) in enumerate(sorted(files))
    ]
    tls: Config = {}
    if links:
        added = linked_names.automation(front, issuer)
        tls["automation"] = {**added, "policies": [*policies, *added["policies"]]}
    elif policies:
        tls["automation"] = {"policies": policies}
    if front.ca and "automation" in tls:
        tls["automation"]["renew_interval"] = _RENEWED_EVERY
    if loaded:
        tls["certificates"] = {"load_files": loaded}
    return tls


def _issuer(front: Front) -> Config:
    """Return the authority as the settings have it, nothing for Caddy's own choice."""
    given: Config = {"email": front.email, "ca": front.ca}
    chosen = {name: value for name, value in given.items() if value}
    if front.ca_root:
        chosen["trusted_roots_pem_files"] = [front.ca_root]
    return {"module": "acme", **chosen} if chosen else {}
