"""The rules for manifests that the settings of this host make."""

from reconciler.manifests.app_document import HostDefaults
from reconciler.manifests.catalog import Rules
from reconciler.serving.listening_sockets import is_free
from reconciler.settings.settings import Settings


def rules_of(settings: Settings) -> Rules:
    """Return what this host decides about manifests."""
    return Rules(
        host=HostDefaults(
            auto_workers=settings.auto_workers,
            crash=settings.crash,
            directories={origin.name: str(settings.paths.current(origin.name)) for origin in settings.origins},
        ),
        ports=settings.ports,
        is_free=is_free,
        prune_after_s=settings.prune_after_s,
    )
