"""Follow the origins in git as long as the daemon runs, and grant what operators request of them."""

import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from reconciler.control.requests import NotFound, Refused
from reconciler.convergence.standing_tasks import StandingTasks
from reconciler.convergence.world import Report
from reconciler.daemon.git_sources import GitSources
from reconciler.daemon.manifest_loop import ManifestLoop
from reconciler.daemon.outcomes import Outcomes
from reconciler.daemon.reports import ReportListener
from reconciler.host.manifest_rules import rules_of
from reconciler.host.stores import Stores
from reconciler.linux.process_identity import boot_id
from reconciler.manifests import persisted
from reconciler.manifests.git.commit_signatures import CommitSignatures
from reconciler.manifests.git.fleet_record import clock_s
from reconciler.manifests.git.follower import Follower
from reconciler.manifests.git.program import GitProgram
from reconciler.manifests.git.servers import servers_by_type
from reconciler.manifests.git.telling import Telling
from reconciler.manifests.git.tree_index import Index
from reconciler.manifests.git.trial import HostInForce
from reconciler.metrics.origin_figures import OriginFigures
from reconciler.planning.apps.app import App
from reconciler.planning.origins.commit_status import CommitStatus
from reconciler.planning.origins.observed import Pause
from reconciler.planning.origins.proof import OriginApp, Wanted, asks_the_same, is_unchanged
from reconciler.planning.reason import REJECTED
from reconciler.planning.subject import Subject
from reconciler.settings.git import GitOrigin
from reconciler.settings.settings import Settings

if TYPE_CHECKING:
    from reconciler.daemon.statuses.reporter import StatusReporter

_SHORTEST = 7
_MOST_REFUSALS = 100


class GitOrigins:
    """The origins in git of this host.

    `outcomes` are those of its apps and services; `services_on_record` returns the services with data here. Each of
    `listeners` is called with every report on an origin.
    """

    def __init__(
        self,
        settings: Settings,
        stores: Stores,
        manifests: ManifestLoop,
        outcomes: Outcomes,
        services_on_record: Callable[[], frozenset[str]],
    ) -> None:
        self._records, self._journal = stores.records, stores.journal
        self._manifests = manifests
        self._outcomes = outcomes
        self._facts: dict[str, Mapping[str, Any]] = {}
        self.listeners: list[ReportListener] = []
        self._unchanged: dict[str, tuple[str, Wanted | None, set[str]]] = {}
        self._with_good: dict[str, Mapping[str, App]] = {}
        in_force = HostInForce(
            lambda: manifests.catalog, rules_of(settings), servers_by_type(settings), services_on_record
        )
        git = GitProgram(settings.paths.git)
        self._reporters: dict[str, StatusReporter] = {}
        self._figures = {origin.name: OriginFigures() for origin in settings.origins}
        self.followers = {
            origin.name: Follower(
                origin,
                settings.paths,
                git,
                signatures=CommitSignatures(origin.repository, settings.paths.origin(origin.name)),
                in_force=in_force,
                telling=Telling(
                    stores.journal, self._publish, self._figures[origin.name], self._tell_status(origin, settings)
                ),
                changed=manifests.look_now.set,
                apps=self,
            )
            for origin in settings.origins
        }
        self.sources = GitSources(
            settings,
            stores.journal,
            manifests,
            outcomes,
            publish=self._publish,
            read=lambda row: app_of(row, outcomes.is_being_read),
        )
        manifests.tell(self.sources)

    def begin(self, tasks: StandingTasks) -> None:
        """Follow every origin from now on; the manifests of this host are looked at first."""
        self.sources.begin(tasks)
        for name, follower in self.followers.items():
            tasks.keep(f"follow the origin {name}", partial(self._follow, follower))
        for name, reporter in self._reporters.items():
            tasks.keep(f"tell how commits of {name} fare", reporter.run)

    def _tell_status(self, origin: GitOrigin, settings: Settings) -> Callable[[CommitStatus | None], None]:
        """Return what tells the git server of an origin how its newest commit fares, if the settings name one."""
        statuses = origin.repository.statuses
        if statuses is None:
            return lambda _: None
        from reconciler.daemon.statuses.forges import context_of  # most hosts tell no server
        from reconciler.daemon.statuses.reporter import StatusReporter

        context = context_of(origin, settings.origins)
        link = f"{settings.api.url}/origins/{origin.name}" if settings.api is not None and settings.api.url else ""
        reporter = StatusReporter(origin, statuses, self._records, self._journal, context=context, link=link)
        self._reporters[origin.name] = reporter
        return reporter.tell

    async def _follow(self, follower: Follower) -> None:
        await self._manifests.looked.wait()
        await follower.run()

    @property
    def indexes(self) -> Mapping[str, Callable[[str], Index]]:
        """What returns the indexes of the commits of each origin, by name."""
        return {name: follower.index for name, follower in self.followers.items()}

    def figures(self) -> dict[str, Any]:
        """Return what was done for each origin since this daemon began, in numbers, by name."""
        of_fleets = {name: follower.fleet.states() for name, follower in self.followers.items()}
        return {
            name: {**figures.as_json(), "hosts": of_fleets.get(name, {})}
            for name, figures in sorted(self._all_figures.items())
        }

    @property
    def _all(self) -> Mapping[str, Follower]:
        return {**self.followers, **self.sources.followers}

    @property
    def _all_figures(self) -> Mapping[str, OriginFigures]:
        return {**self._figures, **self.sources.figures}

    def grant(self, request: dict[str, Any], who: str) -> dict[str, Any]:
        """Return what was done, as {"done": sentence}, or facts. Raises Refused."""
        if request.get("action") == "hook":
            return {"done": self._called(request.get("repository"))}
        name = request.get("name")
        known = self._all
        follower = known.get(name) if isinstance(name, str) else None
        if follower is None:
            raise NotFound(f"no origin is named '{name}'; there are {', '.join(sorted(known)) or 'none'}")
        match request.get("action"):
            case "pull":
                return {"done": f"{name}: looking at {follower.origin.followed} now", "looks": follower.look_now()}
            case "facts":
                at_rest = {"looks": follower.looks, "at_rest": follower.is_at_rest}
                return {**self._facts.get(follower.origin.name, {}), **at_rest}
            case "hosts":
                return {"hosts": follower.fleet.rows(follower.observed)}
            case "pause":
                return {"done": self._pause(follower, request, who)}
            case "resume":
                return {"done": self._resume(follower, who)}
            case "take":
                return {"done": self._take(follower, request.get("commit"), who)}
            case "refuse":
                return {"done": self._refuse(follower, request.get("commit"), who)}
            case other:
                raise Refused(f"there is no request '{other}' about an origin")

    def _called(self, repository: Any) -> str:
        """Look at all that is followed in a repository whose webhook was called."""
        found = [each for each in self._all.values() if each.origin.repository.name == repository]
        if not found:
            raise NotFound("no origin is in this repository")
        for follower in found:
            follower.hook()
            self._all_figures[follower.origin.name].called()
        return f"looking at {', '.join(follower.origin.name for follower in found)} now"

    def _pause(self, follower: Follower, request: Mapping[str, Any], who: str) -> str:
        because, for_s = request.get("because"), request.get("for_s")
        if not isinstance(because, str) or not because.strip():
            raise Refused("say why, with --because")
        now = time.time()  # noqa: TID251  it outlives the daemon
        until = None if for_s is None else now + float(for_s)
        ends_s = None if for_s is None else clock_s() + float(for_s)
        pause = Pause(at=now, because=because.strip(), by=who, until=until, boot=boot_id(), ends_s=ends_s)
        follower.request(lambda record: replace(record, pause=pause))
        text = "no newer commit takes effect until 'reconciler git resume'"
        return self._journaled(follower, text if until is None else f"{text}, or for {for_s:g} s", who)

    def _resume(self, follower: Follower, who: str) -> str:
        if follower.record.pause is None:
            raise Refused(f"{follower.origin.name} is not paused")
        follower.request(lambda record: replace(record, pause=None))
        return self._journaled(follower, "newer commits take effect again", who)

    def _take(self, follower: Follower, written: Any, who: str) -> str:
        head = self._head(follower, written)
        if head == follower.record.accepted:
            raise Refused(f"commit {head[:7]} is accepted already")
        follower.request(
            lambda record: replace(
                record, taken=head, verdict=None, refusals=tuple(each for each in record.refusals if each != head)
            )
        )
        whatever = "its history, its signers' scopes and what it removes"
        text = f"commit {head[:7]} is taken whatever {whatever}; all else is judged"
        return self._journaled(follower, text, who)

    def _refuse(self, follower: Follower, written: Any, who: str) -> str:
        head = self._head(follower, written)
        if head in {follower.record.accepted, follower.observed.in_force}:
            raise Refused(f"commit {head[:7]} is in force: push a commit that reverts it")
        follower.request(
            lambda record: replace(
                record, refusals=(*record.refusals, head)[-_MOST_REFUSALS:], taken=None, verdict=None
            )
        )
        return self._journaled(follower, f"commit {head[:7]} is refused; its descendants are judged", who)

    def _head(self, follower: Follower, written: Any) -> str:
        """Return the commit that an origin leads to, by the beginning of its id. Raises Refused."""
        head, origin = follower.record.head, follower.origin
        if head is None:
            raise Refused(f"{origin.name} has no commit: {origin.followed} is missing, or was never fetched")
        if not isinstance(written, str) or len(written) < _SHORTEST or not head.startswith(written):
            raise Refused(f"{origin.name} is at commit {head}: name that one")
        return head

    def _journaled(self, follower: Follower, text: str, who: str) -> str:
        subject = Subject("origin", follower.origin.name)
        self._journal.write(subject, "request", text, f"requested by {who}")
        return f"{follower.origin.name}: {text}"

    async def once(self) -> None:
        """Fetch every origin once, and put in force what is accepted."""
        for follower in self.followers.values():
            await follower.once()

    def _publish(self, name: str, facts: Mapping[str, Any] | None) -> None:
        if facts is None:
            self._facts.pop(name, None)
        else:
            spare_looks(self._all.values(), self._facts.get(name, facts), facts)
            self._facts[name] = facts
        self._report(name, facts)
        with contextlib.suppress(sqlite3.Error):  # it is told again with the next change
            persisted.remember_origins(self._records, [self._facts[each] for each in sorted(self._facts)])

    def _report(self, name: str, facts: Mapping[str, Any] | None) -> None:
        """Tell every listener the state of an origin, None once it is gone."""
        report = None
        if facts is not None:
            report = Report(state=facts["state"], message=facts["message"], settled=True)
        for listener in self.listeners:
            listener(Subject("origin", name), report)

    def with_commit(self, origin: str, commit: str) -> Sequence[OriginApp] | None:
        """Return the apps and services of an origin; None while it is not known how they are with this commit.

        Of a commit that is not good yet, those are left out that it is known to leave as they were.
        """
        names = self._names_with(origin, commit)
        if names is None:
            return None
        record, is_being_read = self.followers[origin].record, self._outcomes.is_being_read
        unchanged = set() if commit == record.good else self._unchanged_with(origin, commit, record.wanted_with_good)
        rows = self._outcomes.of_names(names - unchanged)
        apps = [app for app in (app_of(row, is_being_read) for row in rows) if app.name in names]
        unchanged |= {app.name for app in apps if is_unchanged(app, record.wanted_with_good or {})}
        return apps

    def wanted_with(self, origin: str, commit: str) -> Wanted | None:
        """Return the revision that each app of an origin wants with a commit; None while that is not known."""
        names = self._names_with(origin, commit)
        if names is None:
            return None
        self._with_good[origin] = self._manifests.catalog.apps
        return self._outcomes.wanted(names)

    def _names_with(self, origin: str, commit: str) -> set[str] | None:
        """Return the apps and services in force from an origin, None unless they are those of a commit."""
        catalog = self._manifests.catalog
        if not self._manifests.is_current or catalog.identities.get(origin) != commit:
            return None
        return {name for entry in catalog.files.values() if entry.origin == origin for name in entry.all_names}

    def _unchanged_with(self, origin: str, commit: str, with_good: Wanted | None) -> set[str]:
        """Return the apps of which it is known that a commit leaves them as they were with the last good one.

        They are not looked at again: what another cause changes of them later, the commit does not answer for.
        """
        last = self._unchanged.get(origin)
        if last is None or last[0] != commit or last[1] is not with_good:
            apps, before = self._manifests.catalog.apps, self._with_good.get(origin, {})
            known = (name for name, revision in (with_good or {}).items() if revision is not None and name in apps)
            same = {name for name in known if asks_the_same(apps[name], before.get(name))}
            last = self._unchanged[origin] = commit, with_good, same
        return last[2]


def spare_looks(followers: Iterable[Follower], before: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """Have the others in a repository look less often, once one origin there leads to another commit."""
    if facts["head"] == before["head"]:
        return
    for each in followers:
        if each.origin.repository.name == facts["repository"] and each.origin.name != facts["name"]:
            each.caught_up()


def app_of(row: Mapping[str, Any], is_being_read: Callable[[str], bool]) -> OriginApp:
    """Return an app or a service by its outcome, named as a file of manifests tells the two apart.

    A revision was rejected if it could be built, and failed: what cannot be built may be the fault of this host.
    """
    name = row["name"]
    is_failed = row["outcome"] == "failed"
    is_rejected = is_failed and row.get("reason") in REJECTED
    return OriginApp(
        name=f"service {name}" if row["kind"] == "service" else name,
        revision=row.get("revision") if row["kind"] == "app" and not is_being_read(name) else None,
        outcome=row["outcome"],
        rejected=row["message"] if is_rejected else "",
        unbuilt=row["message"] if is_failed and not is_rejected else "",
    )
