"""Plan the proxy: the next action that makes it serve every name that a manifest has, and no other.

`plan` is a function. Its laws: the proxy is given a configuration only when its own differs, and at most once in the
time that names have to settle; one app's unreadable file takes no name of another app away; nothing that is not ours
is in what is changed.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal, TypeAlias

from reconciler.linux.dataclass import dataclass
from reconciler.planning.apps.app import HERE
from reconciler.planning.plan import Plan
from reconciler.planning.reason import Cause, Reason
from reconciler.planning.routing.actions import (
    Action,
    ConfigureProxy,
    EndProxy,
    LayFiles,
    LinkNames,
    LookAtProxy,
    StartProxy,
    TryDomains,
)
from reconciler.planning.routing.caddy import Abilities, names_in, spliced, whole, without
from reconciler.planning.routing.linked_names import Link, configured, links_of
from reconciler.planning.routing.observed import ObservedProxy
from reconciler.planning.routing.route import Front, Route
from reconciler.planning.routing.static_files import trees_wanted
from reconciler.planning.wording import listed

Driver: TypeAlias = Literal["kept", "host", "nginx", "haproxy", "traefik"]

# How often the proxy is asked for its configuration: of our own only we know the admin socket.
_LOOK_EVERY_S: Mapping[Driver, float] = {"kept": 30.0, "host": 3.0}
_LOOK_AT_FILE_EVERY_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Routes:
    """All that is asked of the proxy. `settle_s` is the least time between two changes; `log` is where it logs.

    With `links`, names that need nothing of their own are served by links on the disk, and not by the configuration.
    """

    routes: tuple[Route, ...]
    front: Front
    driver: Driver
    settle_s: float = 2.0
    log: str = "proxy.log"
    links: bool = False


def plan(asked: Routes | None, observed: ObservedProxy, now: float) -> Plan[Action]:
    """Plan the proxy; `asked` is None when no app has a domain, `now` is monotonic seconds."""
    if asked is None:
        return _without_domains(observed, now)
    config = wanted(asked, observed)
    if asked.driver == "kept" and not observed.running and observed.config is not None:
        cause = Cause(Reason.NOT_RUNNING, "the proxy is not running")
        start = StartProxy(config=config, cause=cause.text, reason=cause.reason)
        return Plan(actions=(start,), state="starting", reason=cause.reason, message=cause.text)
    look_at = observed.seen_at + _LOOK_EVERY_S.get(asked.driver, _LOOK_AT_FILE_EVERY_S)
    if observed.config is None or now >= look_at:
        look = LookAtProxy(since=observed.seen_at, cause="its time has come", reason=Reason.LOOK_DUE)
        state: Any = "starting" if observed.config is None else _state(asked, observed).state
        return Plan(actions=(look,), state=state, reason=Reason.LOOK_DUE, message="the proxy is being looked at")
    links = _links(asked, observed)
    if (linking := _linking(asked, observed, {**observed.links, **links})) is not None:
        return linking
    if config != observed.config:
        return _changed(asked, observed, config, now)
    if (linking := _linking(asked, observed, links)) is not None:
        return linking
    names = tuple(name for name in tried(asked, observed) if _again_at(name, observed) <= now)
    if names:
        attempt = TryDomains(names=names, since=now, cause="their time has come", reason=Reason.LOOK_DUE)
        return replace(_state(asked, observed), actions=(attempt,), settled=False)
    times = [_again_at(name, observed) for name in tried(asked, observed)]
    times += [until for trees in observed.kept.values() for until in trees.values() if until > now]
    planned = replace(_state(asked, observed), recheck_at=min([look_at, *times]))
    if (laying := _files(asked, observed, now)) is not None:  # last: it may take long, and nothing waits for it
        return replace(planned, actions=(laying,), settled=False)
    return planned


def wanted(asked: Routes, observed: ObservedProxy) -> Any:
    """Return the configuration that the proxy is to have, in the form in which what it has is observed."""
    routes = published(asked, observed)
    if _has_links(asked, observed):
        routes = configured(routes)
    if asked.driver not in _LOOK_EVERY_S:
        from reconciler.planning.routing.file_formats import text_of  # few hosts have another proxy

        return text_of(asked.driver, routes, asked.front)
    abilities = Abilities.of(observed.version)
    if observed.limited:
        abilities = Abilities(keeps_streams=False, knows_client=False, buffers_bodies=False)
    if asked.driver == "kept":
        return whole(routes, asked.front, abilities, asked.log, links=_has_links(asked, observed))
    theirs = observed.config if isinstance(observed.config, dict) else {}
    return spliced(theirs, routes, asked.front, abilities)


def led(asked: Routes, observed: ObservedProxy) -> Mapping[str, str] | None:
    """Return the place that the proxy leads the clients of each app to: this host, or a cluster.

    None while that is not known: what the proxy has is only known when it is what it is to have.
    """
    if observed.config is None or _links(asked, observed) != observed.links:
        return None
    if wanted(asked, observed) != observed.config:
        return None
    return {each.app: HERE if each.entry is None else each.entry.place for each in published(asked, observed)}


def published(asked: Routes, observed: ObservedProxy) -> tuple[Route, ...]:
    """Return the routes that the proxy gets, with what was read of their files; an app without its files gets none.

    Each leads to where its app is reached now, which is another address until it has passed to its own, or a cluster.
    One that is placed in a cluster, and not reached anywhere, gets none either.
    """
    found = []
    for asked_route in asked.routes:
        upstream = observed.upstreams.get(asked_route.app, asked_route.upstream)
        entry = observed.entries.get(asked_route.app)
        if entry is not None:  # which knows no key of ours, and has no file of this host
            route = replace(asked_route, upstream=entry.dial, entry=entry, key="", files="")
        elif upstream:
            route = asked_route if upstream == asked_route.upstream else replace(asked_route, upstream=upstream)
        else:
            continue
        files = observed.files.get(route.app)
        if files is None:
            if route.routing.login is None and route.routing.certificate is None:
                found.append(route)
        elif not files.problem:
            found.append(replace(route, accounts=files.accounts, certificate_id=files.certificate))
    return tuple(found)


def _has_links(asked: Routes, observed: ObservedProxy) -> bool:
    """Return whether links serve names: an older Caddy than 2.8 does not look for them."""
    return asked.links and not observed.limited and Abilities.of(observed.version).knows_client


def _links(asked: Routes, observed: ObservedProxy) -> Mapping[str, Link]:
    return links_of(published(asked, observed)) if _has_links(asked, observed) else {}


def _linking(asked: Routes, observed: ObservedProxy, links: Mapping[str, Link]) -> Plan[Action] | None:
    """Plan the links, None if these are there. One more is made before the configuration leaves its name to it."""
    if links == observed.links:
        return None
    new, gone = links.keys() - observed.links.keys(), observed.links.keys() - links.keys()
    told = [f"{listed(sorted(names))} {'is' if len(names) == 1 else 'are'} {how}"
            for names, how in ((new, "new"), (gone, "gone")) if names]  # fmt: skip
    cause = Cause(Reason.DOMAINS_CHANGED, "; ".join(told) or "an app is reached elsewhere")
    action = LinkNames(names=links, cause=cause.text, reason=cause.reason)
    return replace(
        _state(asked, observed), actions=(action,), state="starting", reason=cause.reason, message=cause.text,
        settled=False,
    )  # fmt: skip


def tried(asked: Routes, observed: ObservedProxy) -> tuple[str, ...]:
    """Return the names whose answers are of interest, each once; a wildcard has no name to ask for."""
    routes = published(asked, observed)
    return tuple(dict.fromkeys(name for route in routes for name in route.routing.names if not name.startswith("*.")))


def _files(asked: Routes | None, observed: ObservedProxy, now: float) -> LayFiles | None:
    """Return the action that lays out the files of apps, and takes those of apps away that have none any more.

    It is one for all of them, so that what is wrong with the files of one app keeps none of another's.
    """
    routes = () if asked is None else asked.routes
    with_files = {route.app for route in routes if route.files}
    apps = []
    for app in sorted(with_files | observed.laid.keys()):
        laid = observed.laid.get(app, ())
        alive, kept = observed.alive.get(app, ()), observed.kept.get(app, {})
        trees = trees_wanted(alive, laid, kept, now) if app in with_files else ()
        if trees != laid or (app not in with_files and app in observed.laid):
            apps.append((app, trees))
    if not apps:
        return None
    told = [f"other builds of {app} serve" if trees else f"{app} has none any more" for app, trees in apps]
    return LayFiles(apps=tuple(apps), cause="; ".join(told), reason=Reason.DOMAINS_CHANGED)


def _without_domains(observed: ObservedProxy, now: float) -> Plan[Action]:
    """Plan a host of which no app has a domain: what there is of ours goes away."""
    cause = Cause(Reason.DOMAINS_CHANGED, "no app has a domain any more")
    actions: list[Action] = []
    if (laid := _files(None, observed, now)) is not None:
        actions.append(laid)
    elif observed.links:
        actions.append(LinkNames(names={}, cause=cause.text, reason=cause.reason))
    elif observed.running:
        actions.append(EndProxy(cause=cause.text, reason=cause.reason))
    elif observed.left and observed.config is None:
        actions.append(LookAtProxy(since=observed.seen_at, cause=cause.text, reason=cause.reason))
    elif observed.left:
        left = without(observed.config) if isinstance(observed.config, dict) else ""
        actions.append(ConfigureProxy(config=left, cause=cause.text, reason=cause.reason))
    return Plan(actions=tuple(actions), state="stopping", reason=cause.reason, message=cause.text)


def _changed(asked: Routes, observed: ObservedProxy, config: Any, now: float) -> Plan[Action]:
    """Plan the change of a configuration: at once after a quiet time, else when the last one has settled."""
    cause = Cause(Reason.DOMAINS_CHANGED, _difference(observed.config, config))
    settled_at = observed.changed_at + asked.settle_s
    state = _state(asked, observed)
    if now < settled_at:
        message = "waits, so that several changes are one"
        return replace(
            state, state="starting", reason=cause.reason, message=message, recheck_at=settled_at, settled=False
        )
    change = ConfigureProxy(config=config, cause=cause.text, reason=cause.reason)
    return replace(state, actions=(change,), state="starting", reason=cause.reason, message=cause.text, settled=False)


def _difference(before: Any, after: Any) -> str:
    if not isinstance(before, dict) or not isinstance(after, dict):
        return "what the manifests say of domains has changed"
    had, gets = names_in(before), names_in(after)
    changes = ((gets - had, "new"), (had - gets, "gone"))
    told = [f"{listed(sorted(names))} {'is' if len(names) == 1 else 'are'} {how}" for names, how in changes if names]
    return "; ".join(told) or "what the proxy has of ours differs from what the manifests say"


def _again_at(name: str, observed: ObservedProxy) -> float:
    answer = observed.answers.get(name)
    return float("-inf") if answer is None else answer.again_at


def _state(asked: Routes, observed: ObservedProxy) -> Plan[Action]:
    """Return a plan without an action: how the names are that are served, and why others are not."""
    problems = [files.problem for app, files in sorted(observed.files.items()) if files.problem]
    problems += [lacks for _, lacks in sorted(observed.lacking.items())]
    if problems:
        return Plan(actions=(), state="degraded", reason=Reason.DOMAIN_UNSERVED, message="; ".join(problems))
    answers = {name: observed.answers[name] for name in tried(asked, observed) if name in observed.answers}
    for states, reason in (
        (("unserved",), Reason.DOMAIN_UNSERVED),
        (("expired", "expiring"), Reason.CERTIFICATE_EXPIRES),
    ):
        bad = [f"{name} {answer.message}" for name, answer in answers.items() if answer.state in states]
        if bad:
            return Plan(actions=(), state="degraded", reason=reason, message=listed(bad))
    return Plan(actions=(), state="ready", settled=len(answers) == len(tried(asked, observed)))
