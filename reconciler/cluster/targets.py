"""What a cluster of the host's settings is to an app that runs there: the target of its objects."""

from reconciler.cluster.target import Gateway, IngressClass, Target
from reconciler.settings.clusters import Cluster


def target_of(cluster: Cluster, image: str, release_timeout_s: float) -> Target:
    """Return the target of the objects of an app whose image this is."""
    namespace, _, gateway = cluster.gateway.rpartition("/")
    route = Gateway(name=gateway, namespace=namespace) if gateway else None
    return Target(
        image=image,
        namespace=cluster.namespace,
        route=IngressClass(name=cluster.ingress_class) if cluster.ingress_class else route,
        drain_s=cluster.drain_s,
        spread=cluster.spread,
        pull_secret=cluster.pull_secret,
        release_timeout_s=release_timeout_s,
        cluster=cluster.name,
    )
