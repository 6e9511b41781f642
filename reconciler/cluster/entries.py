"""Say where the proxy of this host reaches an app in a cluster: by the settings, or what the cluster has. Pure."""

from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import urlsplit

from reconciler.cluster.ownership import Seen
from reconciler.planning.routing.route import Entry
from reconciler.settings.clusters import Cluster

_PORTS = {"http": 80, "https": 443}


def entry_of(cluster: Cluster, app: str, seen: Mapping[tuple[str, str], Seen]) -> Entry | None:
    """Return the entry of an app; None if the proxy is not to lead clients there, or while no address is known."""
    ca = "" if cluster.entry_ca is None else str(cluster.entry_ca)
    match cluster.entry:
        case "":
            found = None
        case "ingress":
            found = _of_ingress(seen.get(("Ingress", app), {}), ca)
        case "service":
            found = _of_service(seen.get(("Service", app), {}))
        case given:
            parts = urlsplit(given)
            port, tls = parts.port or _PORTS[parts.scheme], parts.scheme == "https"
            found = _entry(str(parts.hostname), port, tls=tls, ca=ca)
    return None if found is None else replace(found, place=cluster.name)


def _of_ingress(ingress: Seen, ca: str) -> Entry | None:
    """Return where the controller of an Ingress says that it takes requests, with TLS if the Ingress has any."""
    balancers = ((ingress.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    hosts = (str(each.get("ip") or each.get("hostname") or "") for each in balancers)
    host, tls = next(filter(None, hosts), ""), bool((ingress.get("spec") or {}).get("tls"))
    return _entry(host, _PORTS["https" if tls else "http"], tls=tls, ca=ca) if host else None


def _of_service(service: Seen) -> Entry | None:
    """Return the address of a Service in the cluster, which only its nodes reach."""
    spec = service.get("spec") or {}
    host, ports = str(spec.get("clusterIP") or "None"), spec.get("ports") or ()
    return replace(_entry(host, int(ports[0]["port"])), routed=False) if host != "None" and ports else None


def _entry(host: str, port: int, *, tls: bool = False, ca: str = "") -> Entry:
    return Entry(dial=f"[{host}]:{port}" if ":" in host else f"{host}:{port}", tls=tls, ca=ca if tls else "")
