"""The requests that an operator can make of the running daemon about an app, in one table.

The command line, the page and the API read their names, labels and sentences from it; the daemon grants by it.
"""

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from reconciler.linux.dataclass import dataclass
from reconciler.planning.canary.weights import WHOLE
from reconciler.planning.reason import Reason

if TYPE_CHECKING:  # the command line lists requests without loading what grants them
    from reconciler.host.request_effects import OperatorRequest
    from reconciler.planning.apps.app import App
    from reconciler.planning.apps.observed import Observed
    from reconciler.planning.apps.revision import Revision
    from reconciler.planning.desired_state import DesiredState


class Refused(Exception):
    """A request that cannot be granted, and why; `reason` is for programs."""

    reason = "refused"


class NotFound(Refused):
    """A request about what no valid manifest or setting describes."""

    reason = "not-found"


def desired_app(desired: "DesiredState", name: Any) -> "App":
    """Return the app of a request. Raises NotFound."""
    app = desired.apps.get(name) if isinstance(name, str) else None
    if app is None:
        raise NotFound(f"no valid manifest describes an app named '{name}'; 'reconciler status' lists the apps")
    return app


# A row of `status`: its `state`, its `url` and its `override` (None, or its `kind` and `revision`) are read.
StatusRow: TypeAlias = Mapping[str, Any]
# What is done, in words; and what the World of apps is handed.
Granted: TypeAlias = "tuple[str, OperatorRequest]"


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestKind:
    """One kind of request.

    `label` is its button's; an operator is asked the `question` and shown the `effect` before it is made; `reason` is
    that of its event; one that `interrupts` takes an app out of service; `offered` says for which apps it makes sense;
    `grant` gets the app, what is observed, and the revision that the request names, and raises Refused.
    """

    name: str
    label: str
    question: str
    effect: str
    reason: Reason
    offered: Callable[[StatusRow], bool]
    grant: "Callable[[App, Observed, str | None], Granted]"
    interrupts: bool = False


def _restart(app: "App", observed: "Observed", _: str | None) -> "Granted":
    if observed.failures:
        return "restarting; what failed is tried now, and what serves goes on until that works", "restart"
    if not observed.alive:
        return "no instance is running, so there is nothing to restart", "restart"
    if app.address is None:
        return "restarting its processes; what runs goes on until the new ones are ready", "restart"
    return "restarting; the current instance serves until the new one is ready", "restart"


def _stop(app: "App", _: "Observed", __: str | None) -> "Granted":
    from reconciler.planning.apps.observed import Override

    override = Override(kind="stopped", holds_for=app.fingerprint)
    return "stopped until its manifest changes, or until 'start'", override


def _maintain(app: "App", _: "Observed", __: str | None) -> "Granted":
    from reconciler.planning.apps.observed import Override

    if app.address is None:
        raise Refused("it has no web server (web: false), so there is nothing that clients could get in its place")
    if app.state == "stopped":
        raise Refused("its manifest says state: stopped, so that its port is closed")
    override = Override(kind="maintenance", holds_for=app.fingerprint)
    return "in maintenance until its manifest changes, or until 'maintenance off'", override


def _end_maintenance(app: "App", observed: "Observed", _: str | None) -> "Granted":
    override = observed.override
    if override is not None and override.kind == "maintenance" and override.holds_for == app.fingerprint:
        return "maintenance has ended; its manifest applies again", "start"
    if app.state == "maintenance":
        raise Refused(f"its manifest says state: maintenance; 'reconciler maintenance {app.name} off' takes that out")
    raise Refused("no operator has put it into maintenance")


def _start(_: "App", observed: "Observed", __: str | None) -> "Granted":
    if observed.override is None:
        return (
            "no operator has requested anything of it that lasts, so there is nothing to resume",
            "start",
        )
    return "resumed; its manifest applies again", "start"


def _forget_failure(app: "App", observed: "Observed", _: str | None) -> "Granted":
    from reconciler.planning.apps.plan import plan

    if not observed.failures and plan(app, observed, time.monotonic()).settled:
        return "nothing has failed, so there is nothing to retry", "forget-failure"
    return "recorded failures are forgotten; anything that failed is retried now", "forget-failure"


def _roll_back(app: "App", observed: "Observed", wanted: str | None) -> "Granted":
    from reconciler.planning.apps.observed import Override

    if observed.source is None:
        raise Refused("its source has not been read yet; try again in a moment")
    desired, inputs = app.revision(observed.source.content), observed.inputs
    current = inputs.revision(app, observed.source.content).id
    staged = [r for r in observed.known_good if r.build.id in observed.builds and r.id != current]
    known = [r for r in staged if (today := inputs.todays(r)) is not None and today.id != current]
    found = [r for r in known if wanted is None or r.id.startswith(wanted)]
    if not found:
        raise Refused(_no_revision(wanted, known))
    if wanted is not None and len(found) > 1:
        choice = ", ".join(revision.id for revision in found)
        raise Refused(f"'{wanted}' begins more than one revision; choose one of {choice}")
    override = Override(kind="rolled back", holds_for=desired.id, revision=found[0])
    return f"rolled back to revision {found[0].id} until its manifest or source changes, or until 'start'", override


def _no_revision(wanted: str | None, known: "list[Revision]") -> str:
    if wanted is None or not known:
        return "no earlier revision is known good and still on disk"
    return f"cannot roll back to revision '{wanted}'; choose one of {', '.join(revision.id for revision in known)}"


def _promote(_: "App", observed: "Observed", __: str | None) -> "Granted":
    split = observed.split
    if split is None or not 0 < split.weight < WHOLE:
        raise Refused("no canary is under way that has a share of connections")
    return f"promoted; revision {split.revision} gets every new connection", "promote"


def _abort(_: "App", observed: "Observed", __: str | None) -> "Granted":
    split = observed.split
    if split is None or split.weight == WHOLE:
        raise Refused("no canary is under way")
    text = f"aborted; revision {split.revision} gets no new connection, and is tried again after an edit or 'restart'"
    return text, "abort"


def _has_canary(row: StatusRow) -> bool:
    return bool(row["state"] == "canary")


def _is_maintained(row: StatusRow) -> bool:
    override = row.get("override")
    return override is not None and override["kind"] == "maintenance"


def _always(_: StatusRow) -> bool:
    return True


REQUESTS: Mapping[str, RequestKind] = {
    kind.name: kind
    for kind in (
        RequestKind(
            name="restart",
            label="Restart",
            question="Restart {name}?",
            effect="A new instance starts, and the running one serves until the new one is ready.",
            reason=Reason.RESTART_REQUESTED,
            offered=_always,
            grant=_restart,
        ),
        RequestKind(
            name="rollback",
            label="Roll back",
            question="Roll back {name}?",
            effect="The last known good revision serves again until the manifest or the source changes.",
            reason=Reason.ROLLED_BACK_BY_OPERATOR,
            offered=_always,
            grant=_roll_back,
        ),
        RequestKind(
            name="stop",
            label="Stop",
            question="Stop {name}?",
            effect="The app stops serving and its port is closed until its manifest changes or an operator starts it.",
            reason=Reason.STOPPED_BY_OPERATOR,
            offered=lambda row: row["state"] != "stopped",
            grant=_stop,
            interrupts=True,
        ),
        RequestKind(
            name="maintenance",
            label="Begin maintenance",
            question="Begin maintenance of {name}?",
            effect="The instance stops, and clients get the holding page with status 503, until the manifest changes or"
            " an operator ends it.",
            reason=Reason.MAINTENANCE_BY_OPERATOR,
            offered=lambda row: row["state"] not in {"stopped", "maintenance"} and row.get("url", "") is not None,
            grant=_maintain,
            interrupts=True,
        ),
        RequestKind(
            name="end-maintenance",
            label="End maintenance",
            question="End maintenance of {name}?",
            effect="The manifest applies again: an instance starts, and the holding page is shown until it is ready.",
            reason=Reason.OVERRIDE_ENDED,
            offered=_is_maintained,
            grant=_end_maintenance,
        ),
        RequestKind(
            name="start",
            label="Start",
            question="Start {name}?",
            effect="The manifest applies again: a stop, a rollback or a maintenance by an operator is cancelled.",
            reason=Reason.OVERRIDE_ENDED,
            offered=lambda row: (
                row["state"] == "stopped" or (row.get("override") is not None and not _is_maintained(row))
            ),
            grant=_start,
        ),
        RequestKind(
            name="forget-failure",
            label="Retry",
            question="Retry what failed of {name}?",
            effect="Recorded failures are forgotten, and the failed action is retried at once.",
            reason=Reason.RETRY_REQUESTED,
            offered=lambda row: row["state"] in {"failing", "degraded"},
            grant=_forget_failure,
        ),
        RequestKind(
            name="promote",
            label="Promote",
            question="Promote the canary of {name}?",
            effect="The new revision gets every new connection at once, and the one before it finishes its requests.",
            reason=Reason.PROMOTED,
            offered=_has_canary,
            grant=_promote,
        ),
        RequestKind(
            name="abort",
            label="Abort",
            question="Abort the canary of {name}?",
            effect="The new revision gets no new connection and ends; it is tried again after an edit or a restart.",
            reason=Reason.ABORTED,
            offered=_has_canary,
            grant=_abort,
        ),
    )
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceRequestKind:
    """One kind of request about a service or a process, for the page and the API; its texts as those of RequestKind."""

    name: str
    label: str
    question: str
    effect: str


SERVICE_REQUESTS: Mapping[str, ServiceRequestKind] = {
    "backup": ServiceRequestKind(
        name="backup",
        label="Back up now",
        question="Back up {name} now?",
        effect="The data of the service is written to a file in the state directory. Apps keep running meanwhile.",
    )
}


PROCESS_REQUESTS: Mapping[str, ServiceRequestKind] = {
    "restart": ServiceRequestKind(
        name="restart",
        label="Restart",
        question="Restart {name}?",
        effect="New instances start, and the ones before them finish their work. Of a single process, the one before it"
        " ends first.",
    ),
    "stop": ServiceRequestKind(
        name="stop",
        label="Stop",
        question="Stop {name}?",
        effect="Its instances finish their work and end. It stays stopped until its manifest changes, or until it is"
        " started. The web of its app serves on.",
    ),
    "start": ServiceRequestKind(
        name="start", label="Start", question="Start {name}?", effect="It runs again as its manifest says."
    ),
}


def offered_for(row: StatusRow) -> tuple[str, ...]:
    """Return the requests that make sense for an app in its current state; none when its manifest is refused."""
    if row["state"] == "invalid":
        return ()
    return tuple(name for name, kind in REQUESTS.items() if kind.offered(row))
