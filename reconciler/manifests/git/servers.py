"""List the servers of a host's settings by the type of service that they provide."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from reconciler.settings.settings import Settings


def servers_by_type(settings: Settings) -> Mapping[str, Sequence[str]]:
    """Return the names of the host's servers by type."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for name, server in settings.servers.items():
        found[server.type].append(name)
    return dict(found)
