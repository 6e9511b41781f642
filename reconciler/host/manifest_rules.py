"""The rules for manifests that the settings of this host make."""

from functools import partial
from pathlib import Path

from reconciler.manifests.app_document import HostDefaults
from reconciler.manifests.catalog import Rules
from reconciler.manifests.isolation_fields import IsolationRules
from reconciler.manifests.sources_in_git import SourcesInForce
from reconciler.serving.free_ports import is_free
from reconciler.settings.settings import Settings


def rules_of(settings: Settings) -> Rules:
    """Return what this host decides about manifests."""
    return Rules(
        host=HostDefaults(
            auto_workers=settings.auto_workers,
            crash=settings.crash,
            directories={origin.name: str(settings.paths.current(origin.name)) for origin in settings.origins},
            repositories=settings.repositories,
            zone=settings.schedules_zone,
            limits=settings.limits,
            isolation=IsolationRules(
                default=settings.isolation_default,
                required=settings.isolation_required,
                mounts=settings.isolation_mounts,
                filters=partial(_filters, settings),
            ),
            domain="" if settings.proxy is None else settings.proxy.domain,
            no_static="" if settings.proxy is None else settings.proxy.no_static,
            sockets=sockets_of(settings),
            clusters=frozenset(settings.clusters),
        ),
        ports=settings.ports,
        is_free=is_free,
        prune_after_s=settings.prune_after_s,
        sources=_sources(settings),
    )


def _filters(settings: Settings) -> bool:
    from reconciler.host.network_kernel import filters  # few apps have a list

    return filters(settings.paths, settings.uids)


def sockets_of(settings: Settings) -> str:
    """Return the directory of the sockets at which the proxy reaches apps, "" for one that cannot, and without any."""
    proxy = settings.proxy
    if proxy is None or not (proxy.run or proxy.sockets):
        return ""
    return str(settings.paths.listeners if proxy.run else proxy.sockets)


def socket_directories(settings: Settings) -> tuple[Path, ...]:
    """Return the directories in which apps may have sockets, the daemon's own first."""
    own, given = settings.paths.listeners, sockets_of(settings)
    return (own,) if given in ("", str(own)) else (own, Path(given))


def _sources(settings: Settings) -> SourcesInForce:
    if not settings.repositories:
        return {}
    from reconciler.manifests.git.source_trees import sources_in_force  # most hosts have no repository

    return sources_in_force(settings.paths)
