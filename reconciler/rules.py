"""What a host's settings say about manifests."""

from reconciler.manifests.catalog import Rules
from reconciler.manifests.document import HostDefaults
from reconciler.serving.listeners import is_free
from reconciler.settings import Settings


def rules_of(settings: Settings) -> Rules:
    """What this host decides about manifests."""
    return Rules(
        host=HostDefaults(auto_workers=settings.auto_workers, crash=settings.crash),
        ports=settings.ports,
        is_free=is_free,
        prune_after_s=settings.prune_after_s,
    )
