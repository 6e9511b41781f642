"""Run every check of this host; none changes anything."""

from collections.abc import Callable, Iterator

from reconciler.inspection.checks import (
    disk,
    encrypted_files,
    fork_servers,
    git_clocks,
    git_programs,
    isolation,
    kernel,
    network,
    origins,
    proxy,
    reconciler,
    software,
    users,
)
from reconciler.inspection.checks.check import Check
from reconciler.inspection.manifests import checked
from reconciler.manifests.catalog import Catalog
from reconciler.settings.settings import Settings


def checks(settings: Settings, unusable: str | None = None) -> Iterator[Check]:
    """Yield the results; a check that the host does not let run is a result, too.

    `unusable` says why the settings file cannot be used; `settings` are then those without it.
    """
    catalog = checked(settings)
    parts: tuple[Callable[[], Iterator[Check]], ...] = (
        kernel.version,
        kernel.listeners,
        lambda: kernel.inotify(catalog),
        lambda: kernel.canaries(catalog),
        lambda: kernel.open_files(len(catalog.apps)),
        lambda: isolation.control_groups(settings),
        lambda: isolation.users(settings),
        lambda: fork_servers.gunicorns(settings, catalog),
        lambda: isolation.lists(settings, catalog),
        lambda: isolation.builds(settings, catalog),
        users.user,
        lambda: users.files(settings),
        lambda: disk.state_directory(settings.paths.state),
        software.uv,
        lambda: software.interpreters(settings.interpreters),
        lambda: software.programs(catalog),
        lambda: reconciler.ports(settings, catalog),
        lambda: proxy.proxy(settings, catalog),
        lambda: _clusters(settings, catalog),
        lambda: reconciler.manifests(settings, catalog),
        lambda: reconciler.settings_file(settings, unusable),
        lambda: git_programs.git_programs(settings),
        lambda: origins.origins(settings),
        lambda: git_clocks.git_clocks(settings),
        lambda: encrypted_files.identities(settings),
        lambda: encrypted_files.encrypted_files(settings, catalog),
        lambda: network.servers(settings),
        lambda: network.services(settings),
        lambda: network.page(settings),
        lambda: reconciler.daemon(settings),
        lambda: reconciler.log_drain(settings),
        lambda: reconciler.clock(settings.paths.database),
    )
    for part in parts:
        try:
            yield from part()
        except OSError as error:
            yield Check(level="warn", subject="doctor", found=f"a check could not run: {error}")


def _clusters(settings: Settings, catalog: Catalog) -> Iterator[Check]:
    if settings.clusters:
        from reconciler.inspection.checks.clusters import clusters  # most hosts have none

        yield from clusters(settings, catalog)
