"""A cluster as a World of apps: what it has of each app placed there, and one line for each action that changes it.

The World of this host stages an app that is placed in a cluster, and has its revision in force; this one has the
cluster run that revision, and says how far it is, as a process of the app would.
"""

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from reconciler.cluster.actions import Action, ApplyObject, DeleteObject, ForgetPlace, Render
from reconciler.cluster.api.client import ApiError, Client
from reconciler.cluster.leads import Leads
from reconciler.cluster.moves import Moves
from reconciler.cluster.neighbours import PlaceNeighbours, Renderer
from reconciler.cluster.observed import ObservedPlace, Rendered
from reconciler.cluster.ownership import APP, conflict_of, kept_replicas, marked, may_be_taken
from reconciler.cluster.plan import plan
from reconciler.cluster.requests import as_requested, with_request
from reconciler.cluster.rollout import available_pods, is_ready
from reconciler.cluster.versions import PLURALS
from reconciler.cluster.watched import WatchedObjects
from reconciler.convergence.standing_tasks import StandingTasks
from reconciler.convergence.wake_queue import WakeQueue
from reconciler.convergence.world import Report
from reconciler.linux.files import replace_file
from reconciler.planning.apps.app import HERE, App
from reconciler.planning.apps.observed import ProcessFailure
from reconciler.planning.cache import Planner
from reconciler.planning.desired_state import DesiredState
from reconciler.planning.plan import Plan
from reconciler.planning.reason import Reason
from reconciler.planning.states import AppState
from reconciler.planning.subject import Subject
from reconciler.serving.build_users import Use
from reconciler.settings.clusters import Cluster
from reconciler.state.journal import EventKind, Journal

_NEVER = float("inf")
_CONFLICT = 409
_MOST_CONFLICTS = 32
_NONE: Mapping[str, str] = {}


class CannotApply(Exception):
    """An object cannot be applied, and why."""


class ClusterWorld:
    """The World of the apps in one cluster."""

    def __init__(  # noqa: PLR0913  collaborators, each named
        self,
        cluster: Cluster,
        client: Client,
        journal: Journal,
        *,
        installation: str,
        directory: Path,
        neighbours: PlaceNeighbours,
        render: Renderer,
    ) -> None:
        self._cluster = cluster
        self._client = client
        self._journal = journal
        self._installation = installation
        self._directory = directory
        self._neighbours = neighbours
        self._render = render
        self.wakeups = WakeQueue()
        self._watched = WatchedObjects(client, installation, self._wake)
        self._rendered: dict[str, Rendered] = {}
        self._desired: Mapping[str, App] = {}
        self._left = frozenset(each.name for each in directory.iterdir()) if directory.is_dir() else frozenset()
        self._conflicts: dict[str, dict[str, str]] = {}
        self._blamed: dict[str, tuple[str, float]] = {}
        self._moves = Moves(cluster, neighbours)
        neighbours.standings.on_change.append(self._on_standing)
        self._serving: dict[str, list[list[str]]] = {}
        self.leads = Leads(cluster, lambda name, entry: self._note(name, entry=entry))
        for name in self._left:
            noted = self._noted(name)
            self._serving[name] = noted.get("serving", [])
            self.leads.restore(name, noted)
        self._planner: Planner[App, ObservedPlace, Plan[Action]] = Planner(plan)

    def begin(self, tasks: StandingTasks) -> None:
        """Watch the cluster from now on."""
        for kind in sorted(PLURALS):
            tasks.keep(f"watch {self._cluster.name} for {kind}", lambda kind=kind: self._watched.watch(kind))  # type: ignore[misc]

    @property
    def name(self) -> str:
        """The cluster's name."""
        return self._cluster.name

    @property
    def has_entry(self) -> bool:
        """Whether the proxy of this host is to lead clients there."""
        return bool(self._cluster.entry)

    # Desired state

    def follow(self, desired: DesiredState) -> Mapping[str, App]:
        """Learn which apps are to run in this cluster, and return them."""
        self._moves.follow(desired.apps)
        before = self._desired
        self._desired = {name: app for name, app in desired.apps.items() if app.place == self._cluster.name}
        for name in before.keys() - self._desired.keys():  # nothing that is said of it there holds it back elsewhere
            self._neighbours.places.verdicts.forget(name, self._cluster.name)
            self._neighbours.wake(name)
        for name in self._desired:
            if not self._neighbours.places.verdicts.has(name, self._cluster.name):
                self._say(name, underway=f"{self._cluster.name} was not looked at yet")
        return self._desired

    def names(self) -> frozenset[str]:
        """Return every app of which anything is, or may be, in the cluster."""
        return self._watched.apps() | self._left

    def uses(self, app: str) -> Iterable[Use]:
        """Yield the builds of an app that are in the cluster, also while pods of one that is replaced are there.

        What they work with, such as credentials, goes away once they are gone.
        """
        if app in self._left:
            revision = self._neighbours.places.revision(app)
            if revision is not None:
                yield Use(revision=revision.id, build=revision.build.id)
            for other, build in self._serving.get(app, []):
                yield Use(revision=other, build=build)

    def on_report(self, subject: Subject, _: Report | None) -> None:
        """Look at an app that was reported on: another revision of it may be in force."""
        if subject.kind == "app" and (subject.name in self._desired or subject.name in self._left):
            self._wake(subject.name)

    def on_led(self) -> None:
        """Look at the apps that wait for the proxy of this host, which does something else now."""
        for name in tuple(self.leads.waiting):
            self._wake(name)

    def restart(self, app: App) -> None:
        """Have every pod of an app replaced, as an operator asked; what serves ends once its successor is ready."""
        if app.place == self._cluster.name:
            self._requested(app.name, restarted=_now())

    def request(self, app: App, process: str, kind: str) -> None:
        """Restart, stop or start a process of an app, as an operator asked; others are left as they are."""
        (asked,) = (each for each in app.processes if each.name == process)
        if app.place == self._cluster.name:
            self._requested(app.name, processes=with_request(self._noted(app.name), asked, kind, _now()))

    def _requested(self, name: str, **noted: object) -> None:
        self._note(name, **noted)
        self._rendered.pop(name, None)
        self._wake(name)

    # The World

    def now(self) -> float:
        """Return monotonic seconds."""
        return time.monotonic()

    def plan(self, name: str, asked: App | None) -> Plan[Action]:
        """Plan what to do about an app in this cluster now; one that an operator has stopped is stopped there, too."""
        if asked is not None and self._neighbours.places.state(asked) == "stopped":
            asked = asked.stopped
        planned = self._planner.plan(name, asked, self.observe(name), self.now())
        self._track(name, planned)
        if name in self._left:
            self.leads.take(name, planned, self._watched.of(name)[0], self.now(), placed=asked is not None)
        if planned.reason is Reason.SERVING_AT_BOTH:
            self._moves.serves_at_both(name, self.now())
        serves = any(available_pods(each) for each in self._watched.of(name)[0].values())
        stands = self.leads.stands_since(name) is not None
        self._neighbours.standings.note(name, self._cluster.name, serves=serves, stands=stands)
        return planned

    def when_failing(self, name: str) -> AppState:
        """Return the state of an app whose next action keeps failing: degraded while pods of it are ready."""
        return "degraded" if any(is_ready(pod) for pod in self._watched.of(name)[1]) else "failing"

    def observe(self, name: str) -> ObservedPlace:
        """Return what is true of an app there, as it was seen last."""
        seen, pods = self._watched.of(name)
        revision = self._neighbours.places.revision(name) if name in self._desired else None
        move = self._moves.of(name)
        led, led_since = self.leads.led_since(name, self.now(), asked=bool(move.serves_at))
        ends_here = led == "there" and move.serves_at == HERE and not move.wanted_at
        return ObservedPlace(
            installation=self._installation,
            place=self._cluster.name,
            revision=revision,
            since=None if revision is None else self._neighbours.in_force_since(name, revision.id),
            rendered=self._rendered.get(name),
            seen=seen,
            pods=pods,
            looked=self._watched.looked,
            unseen=self._watched.unseen,
            held=self._neighbours.held(name),
            wanted_at=move.wanted_at,
            serves_at=move.serves_at,
            stands_since=self.leads.stands_since(name),
            led=led,
            led_since=led_since,
            drain_s=self._cluster.drain_s,
            waited_for=ends_here and self._neighbours.is_waited_for(name),
            left=name in self._left,
            conflicts=self._conflicts.get(name, _NONE),
            overlap_s=move.overlap_s,
            both_since=move.both_since,
        )

    async def do(self, name: str, action: Action) -> None:
        """Carry out one action. Raises CannotApply, ApiError, and what a registry and files do."""
        match action:
            case Render():
                self._rendered[name] = await self._made(name, action)
            case ApplyObject():
                with self._watched.quiet(name):
                    await self._apply(name, action)
            case DeleteObject():
                with self._watched.quiet(name):
                    await self._client.delete(action.kind, action.name, action.uid, orphans=action.orphans)
                    self._watched.forget(name, action.kind, action.name)
                    self._write(name, "removed", f"deleted {action.kind} {action.name} in {self._cluster.name}", action)
            case ForgetPlace():
                (self._directory / name).unlink(missing_ok=True)
                self._left -= {name}
                self._serving.pop(name, None)
                self._rendered.pop(name, None)
                self._conflicts.pop(name, None)
                self._moves.forget(name)
                self.leads.forget(name)
                self._neighbours.places.verdicts.forget(name, self._cluster.name)
                self._neighbours.wake(name)

    def report(self, name: str, report: Report) -> None:
        """Say of the app how far the cluster is: its own World reports it."""
        if report.failed_now:
            text = f"{self._cluster.name}: {report.message}"
            self._journal.write(Subject("app", name), "failed", text, f"try {report.failures}", report.reason)
        if name not in self._desired:
            return
        match report.state:
            case "running":
                self._say(name)
            case "starting" | "staging" | "pending":
                self._say(name, underway=report.message)
            case "failing":  # what serves here, if anything does, serves on
                self._say(name, ailing=report.message, underway=report.message)
                self._blame(name, report)
            case _:
                self._say(name, ailing=report.message)
                self._blame(name, report)

    def close(self) -> None:
        """End every connection to the cluster."""
        self._client.close()

    # The actions

    async def _made(self, name: str, action: Render) -> Rendered:
        made = await self._render(self._cluster, action.app, action.revision)
        noted = self._noted(name)
        asked = (as_requested(each, action.app, noted) for each in made.objects)
        objects = tuple(marked(each, self._installation, made.revision) for each in asked)
        if made.refused:
            self._write(name, "refused", f"cannot run in {self._cluster.name}: {made.refused}", action)
        for note in made.notes:
            self._write(name, "configured", note, action)
        return replace(made, objects=objects)

    async def _apply(self, name: str, action: ApplyObject) -> None:
        self._remember(name)
        known = self._watched.of(name)[0].get((action.kind, action.name))
        there = known or await self._client.get(action.kind, action.name)
        if there is not None and (why := may_be_taken({**there, "kind": action.kind}, name, self._installation)):
            raise CannotApply(why)
        other = str((there or {}).get("metadata", {}).get("labels", {}).get(APP) or name)
        if other != name and other in self._desired:
            remedy = "rename one of them, or the part of it that has this name"
            raise CannotApply(f"{action.kind} {action.name} is that of {other}: {remedy}")
        force = self._cluster.force and there is not None
        try:
            if known is not None and (kept := kept_replicas(action.wanted, known, self._installation)):
                await self._client.apply(kept, force=True, part="scale")
            seen = await self._client.apply(action.wanted, force=force)
        except ApiError as error:
            if error.status == _CONFLICT and known is not None and not force:
                text = f"{action.kind} {action.name} is left as it is: {error}; see 'force' in the host's settings"
                before = list(self._conflicts.get(name, _NONE).items())[-_MOST_CONFLICTS:]
                self._conflicts[name] = {**dict(before), conflict_of(action.wanted, known): text}
                self._write(name, "refused", text, action)
                return
            raise CannotApply(f"cannot apply {action.kind} {action.name}: {error}") from error
        self._watched.note({**seen, "kind": action.kind})
        kind: EventKind = "recovered" if action.reason is Reason.DRIFTED else "applied"
        self._write(name, kind, f"applied {action.kind} {action.name} in {self._cluster.name}", action)

    def _track(self, name: str, planned: Plan[Action]) -> None:
        """Keep on record which revisions may have pods there: all since the last one whose rollout has ended."""
        revision = self._neighbours.places.revision(name)
        if name not in self._left or revision is None:
            return
        known, latest = self._serving.get(name, []), [revision.id, revision.build.id]
        wanted = known if latest in known else [*known, latest]
        pods = self._watched.of(name)[1]
        if planned.state == "running" and planned.wanted == revision.id and not any(map(_is_ending, pods)):
            wanted = [latest]
        if wanted != known:
            self._serving[name] = wanted
            self._note(name, serving=wanted)
            self._neighbours.wake(name)

    def _remember(self, name: str) -> None:
        """Have it on record that something of an app is in the cluster, before anything is."""
        if name in self._left:
            return
        revision = self._neighbours.places.revision(name)
        self._serving[name] = [] if revision is None else [[revision.id, revision.build.id]]
        self._note(name, serving=self._serving[name])  # at once, as each note waits for the disk
        self._neighbours.wake(name)

    def _noted(self, name: str) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads((self._directory / name).read_bytes())
        except (FileNotFoundError, ValueError):
            return {}
        return found

    def _note(self, name: str, **noted: object) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        replace_file(self._directory / name, json.dumps({**self._noted(name), "app": name, **noted}))
        self._left |= {name}

    def _blame(self, name: str, report: Report) -> None:
        """Have the host's World fall back from a revision that the cluster could not roll out, once for each try."""
        if report.reason != Reason.REVISION_REJECTED or report.wanted is None:
            return
        since = self._neighbours.in_force_since(name, report.wanted)
        if since is None or self._blamed.get(name) == (report.wanted, since):
            return
        self._blamed[name] = report.wanted, since
        reason = f"in {self._cluster.name}, {report.message}"
        self._neighbours.places.verdicts.blame(
            name, ProcessFailure(revision=report.wanted, reason=reason, at=self.now())
        )
        self._neighbours.wake(name)

    def _say(self, name: str, *, ailing: str = "", underway: str = "") -> None:
        proven_at = _NEVER if underway or ailing else -_NEVER
        verdicts = self._neighbours.places.verdicts
        if verdicts.note(name, self._cluster.name, ailing=ailing, proven_at=proven_at, underway=underway):
            self._neighbours.wake(name)

    def _on_standing(self, name: str, cluster: str) -> None:
        if cluster != self._cluster.name and (name in self._desired or name in self.names()):
            self._wake(name)

    def _wake(self, name: str) -> None:
        for each in (name,) if name else (*self._desired, *self.names()):
            if not self._watched.is_quiet(each):
                self.wakeups.wake(each)

    def _write(self, name: str, kind: EventKind, text: str, action: Action) -> None:
        self._journal.write(Subject("app", name), kind, text, action.cause, action.reason)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _is_ending(pod: Mapping[str, Any]) -> bool:
    return bool(pod["metadata"].get("deletionTimestamp"))
