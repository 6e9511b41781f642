"""Decide what the table of packet filter rules has for the apps of this host. Pure: names are looked up elsewhere."""

from collections.abc import Collection, Iterable, Mapping
from operator import itemgetter

from reconciler.host.network_memory import Held
from reconciler.linux.filter_table import Chain, Table
from reconciler.planning.isolation.destinations import Destination, destinations
from reconciler.planning.isolation.refused import ADMIN_PORTS, METADATA, own_of

_DNS = 53
# An instance sends there to prove that it is held: nothing lets it through.
_UNLISTED = (("127.255.83.9", 9),)


def table_of(
    held: Iterable[Held],
    known: Mapping[str, Collection[str]],
    resolvers: Iterable[str],
    apps: frozenset[Destination],
    building: frozenset[int] = frozenset(),
) -> Table:
    """Return the table for apps that are held; `known` are the addresses of names, `apps` where any of this host is.

    `building` are the users of what builds apps, where that is not the daemon's.
    """
    of_dns = [(address, _DNS) for address in resolvers]
    some = list(held)
    users = {each.user: each for each in some if each.user is not None}
    groups = {each.group: destinations((*(each.places or ()), *each.of_builds), known) for each in some}
    groups.pop(None, None)
    if not users and not groups:
        return Table()
    chains = [
        Chain(user=user, allowed=(*destinations(each.places, known), *of_dns), never=_UNLISTED)
        for user, each in sorted(users.items())
        if each.places is not None
    ]
    chains += [
        Chain(user=group, allowed=named, never=_UNLISTED, builds=True)
        for group, named in sorted(groups.items(), key=itemgetter(0))
        if group is not None and named
    ]
    return Table(
        chains=tuple(chains),
        others=frozenset(user for user, each in users.items() if each.places is None),
        builders=frozenset(group for group, named in groups.items() if group is not None and not named),
        listeners=frozenset(place for each in some for place in each.listens),
        places=apps,
        own=frozenset(own for user, each in users.items() for own in own_of(user, each.listens, each.servers)),
        closed=ADMIN_PORTS,
        beyond=METADATA,
        never=_UNLISTED,
        building=building,
    )


def described(table: Table) -> list[object]:
    """Return a table as data that is the same for one of the same content."""
    return [
        [[each.user, each.builds, [*map(list, each.allowed)]] for each in table.chains],
        [*map(list, sorted(table.places))],
        [*map(list, sorted(table.own))],
        [*map(list, sorted(table.listeners))],
        [sorted(table.others), sorted(table.builders), list(table.closed), list(table.beyond)],
        *([sorted(table.building)] if table.building else []),
    ]
