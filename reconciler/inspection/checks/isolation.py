"""Check what the kernel and the host allow for keeping apps apart: control groups, and users of their own."""

import os
from collections.abc import Iterator

from reconciler.host.network_kernel import EARLIER_WARDEN, filters, filters_builds
from reconciler.inspection.checks.check import Check
from reconciler.inspection.users import name_of
from reconciler.isolation.app_namespace import has_users, no_warden
from reconciler.isolation.app_users import AppUsers, app_users
from reconciler.isolation.cells import places_of
from reconciler.isolation.user_leases import damaged_files, read_leases, whose
from reconciler.linux.landlock import keeps_from_network
from reconciler.linux.process_identity import owner_of
from reconciler.linux.user_namespaces import forbidden
from reconciler.manifests.catalog import Catalog
from reconciler.planning.apps.app import HERE
from reconciler.planning.isolation.layout import NOT_DELEGATED, layout
from reconciler.planning.isolation.refused import REFUSED
from reconciler.settings.settings import Settings

_ANOTHER = "that app gets another one at its next start"
_ENDS = "a process that detaches itself from its app ends with it"
_RESTART = "systemctl restart reconciler-warden reconciler"
_FOR_RULES = (
    "run the daemon as root, with CAP_NET_ADMIN, on a kernel that has nftables; or 'reconciler install --app-users'"
    f" again, and {_RESTART}"
)
_MARKED = "a process that detaches itself from its app and clears its environment outlives it"


def control_groups(settings: Settings) -> Iterator[Check]:
    """Check in which control groups the running daemon can hold apps; this process's, while none is running."""
    from reconciler.state.lock import holder

    pid = holder(settings.paths)
    places, systemd = places_of("self" if pid is None else pid)
    chosen = layout(places, systemd=systemd)
    of = "" if pid is not None else ", as far as a daemon started here is concerned"
    if chosen.ending is None:
        advice = f"until then, {_MARKED}"
        if chosen.lacks == NOT_DELEGATED:
            advice = f"install the service with 'reconciler install', or set Delegate=yes in its unit; {advice}"
        yield Check(
            level="warn", subject="control groups", found=f"none can be used: {chosen.lacks}{of}", advice=advice
        )
        return
    version = f"version {chosen.ending.version}"
    lacks = f"; {chosen.lacks}" if chosen.lacks else ""
    yield Check(level="ok", subject="control groups", found=f"{version}: {_ENDS}{lacks}{of}")


def users(settings: Settings) -> Iterator[Check]:
    """Check whether isolated apps get users of their own, from a daemon that is root or from its warden."""
    from reconciler.state.lock import holder

    numbers, pid = settings.uids, holder(settings.paths)
    if (os.geteuid() if pid is None else owner_of(pid)) != 0:
        yield from _of_warden(settings, pid)
        return
    lacks = AppUsers(settings.paths, numbers).lacks()
    if lacks:
        found = f"isolated apps get none of their own: {lacks}"
        yield Check(level="warn", subject="users", found=found, advice="until then, isolated apps share root's")
        return
    taken = app_users(settings.paths)
    named = [
        f"{app} has {number}, which is {name} of this host" for number, app in taken.items() if (name := _known(number))
    ]
    if named:
        advice = "give that user of the host another number"
        yield Check(level="warn", subject="users", found="; ".join(named), advice=advice)
        return
    yield from _of_other_daemons(AppUsers(settings.paths, numbers))
    stored, kept = read_leases(settings.paths), damaged_files(settings.paths)
    if not stored.whole or kept:
        why = stored.why or f"it was damaged, as {kept[-1]} is"
        found = (
            f"{settings.paths.users}: {why}; which app has which user is read from the owners of homes, and all stay"
        )
        advice = (
            "the next app that is new gets it written again" if stored.why else f"remove {kept[-1]} once you know why"
        )
        yield Check(level="warn", subject="users", found=found, advice=advice)
        return
    some = f"{len(taken)} {'has' if len(taken) == 1 else 'have'} one"
    found = f"isolated apps get users of their own, from {numbers.start} to {numbers[-1]}; {some}"
    yield Check(level="ok", subject="users", found=found)


def _of_other_daemons(users: AppUsers) -> Iterator[Check]:
    """Check that no other daemon of this host gives out a number that is leased here."""
    shared = [f"{whose(name)} has {number}, and so has {other}" for name, number, other in users.others()]
    if shared:
        advice = f"take it out of the users.json of one of the two; {_ANOTHER}"
        yield Check(level="warn", subject="users", found="; ".join(shared), advice=advice)
    elif where := users.unclaimed():
        advice = f"let the daemon write {where}, or give each daemon its own isolation.uids"
        found = f"other daemons of this host are not told of these users: {where} cannot be written"
        yield Check(level="warn", subject="users", found=found, advice=advice)


def lists(settings: Settings, catalog: Catalog) -> Iterator[Check]:
    """Check what holds isolated apps to where they may connect; nothing without one."""
    yield from _refusals(settings, catalog)
    listed = sorted(name for name, app in catalog.apps.items() if app.isolation.connects == "listed")
    loose = [name for name in listed if not catalog.apps[name].isolation.by_user]
    if loose:
        found = f"of {loose[0]}{f' and {len(loose) - 1} more' if loose[1:] else ''}, only ports of TCP are held"
        if not keeps_from_network():
            found = f"nothing holds {loose[0]}{f' and {len(loose) - 1} more' if loose[1:] else ''} to them"
        yield Check(level="warn", subject="network lists", found=found, advice=_FOR_RULES)
    elif listed:
        found = f"rules of the kernel hold {len(listed)} {'app' if len(listed) == 1 else 'apps'} to them"
        yield Check(level="ok", subject="network lists", found=found)


def builds(settings: Settings, catalog: Catalog) -> Iterator[Check]:
    """Check what holds the commands that build isolated apps to other hosts; nothing without such an app."""
    built = [name for name, app in catalog.apps.items() if app.isolation.kind == "strict" and app.place == HERE]
    if not built:
        return
    those = f"what builds {len(built)} isolated {'app' if len(built) == 1 else 'apps'}"
    if filters_builds(settings.paths, settings.uids):
        found = f"rules of the kernel keep {those} from this host and the metadata of a cloud"
        yield Check(level="ok", subject="builds", found=found)
        return
    found = f"no rules of the kernel keep {those} from this host or the metadata of a cloud"
    earlier = filters(settings.paths, settings.uids)
    found += f": {EARLIER_WARDEN}" if earlier else ""
    yield Check(level="warn", subject="builds", found=found, advice=_RESTART if earlier else _FOR_RULES)


def _refusals(settings: Settings, catalog: Catalog) -> Iterator[Check]:
    """Check whether isolated apps without a list are kept from what no app reaches unless it says so."""
    free = [
        name
        for name, app in catalog.apps.items()
        if app.isolation.kind == "strict" and app.isolation.connects == "all" and app.place == HERE
    ]
    if not free:
        return
    some = f"{len(free)} isolated {'app' if len(free) == 1 else 'apps'} without a list"
    if filters(settings.paths, settings.uids):
        found = f"rules of the kernel keep {some} from {REFUSED}"
        yield Check(level="ok", subject="network", found=found)
        return
    found = f"nothing keeps {some} from {REFUSED}"
    if "network" in settings.isolation_required:
        found += ", and none of them starts, as isolation.require names the network"
    yield Check(level="warn", subject="network", found=found, advice=_FOR_RULES)


def _of_warden(settings: Settings, pid: int | None) -> Iterator[Check]:
    """Check whether a daemon that is not root, by its pid if one runs, has users from a warden."""
    given = f"isolated apps get users of their own from the warden, {settings.first_uid} to {settings.last_uid}"
    if pid is not None and has_users(pid, settings.uids):
        yield from _of_other_daemons(AppUsers(settings.paths, settings.uids))
        yield Check(level="ok", subject="users", found=given)
        return
    why = no_warden()
    if pid is None and not why:
        yield Check(level="ok", subject="users", found=f"{given}, once the daemon runs")
    elif settings.isolation_default != "none" or app_users(settings.paths):
        advice = "install one with 'reconciler install --app-users'"
        if not why or why == forbidden():
            advice = f"{'systemctl' if not why else 'set it otherwise by sysctl, then systemctl'} restart reconciler"
        found = f"isolated apps get none of their own: {why or 'the daemon was started without its warden'}"
        yield Check(level="warn", subject="users", found=found, advice=f"{advice}; until then, they share the daemon's")


def _known(number: int) -> str:
    """Return the name that this host has for a user, "" for none."""
    name = name_of(number)
    return "" if name == str(number) else name
