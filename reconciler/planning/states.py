"""Define the states of apps, services and origins in git: the table that reports, pages, metrics and messages read."""

from typing import Literal, NamedTuple, TypeAlias

AppState: TypeAlias = Literal[
    "failing",
    "degraded",
    "invalid",
    "starting",
    "staging",
    "pending",
    "stopping",
    "maintenance",
    "canary",
    "running",
    "sleeping",
    "stopped",
]
ServiceStateName: TypeAlias = Literal["failing", "degraded", "starting", "pending", "stopping", "retained", "ready"]
DomainState: TypeAlias = Literal["served", "pending", "unpublished", "unserved", "expiring", "expired"]
State: TypeAlias = AppState | ServiceStateName
Severity: TypeAlias = Literal["healthy", "degraded", "failing"]


class StateInfo(NamedTuple):
    """One state; `severity` is None while work is under way, which makes nothing better or worse."""

    name: str
    severity: Severity | None
    meaning: str


# Worst first, as they are counted and listed.
APP_STATES: tuple[StateInfo, ...] = (
    StateInfo("failing", "failing", "No instance serves, and what is tried keeps failing."),
    StateInfo("degraded", "degraded", "An instance serves, but something about it is not as the manifest says."),
    StateInfo("invalid", "failing", "The manifest is refused, and no earlier one is in effect."),
    StateInfo("starting", None, "An instance is being started or replaced."),
    StateInfo("staging", None, "A build is being made, or its release command runs."),
    StateInfo("pending", None, "Waits for another app, a service or a secret."),
    StateInfo("stopping", None, "Instances are being stopped."),
    StateInfo("maintenance", "healthy", "Clients get the holding page, because the manifest says so."),
    StateInfo("canary", "healthy", "A new revision is tried with a part of the clients; the other serves on."),
    StateInfo("running", "healthy", "An instance serves as desired; a new one may be about to take over."),
    StateInfo("sleeping", "healthy", "No instance is running; the next connection starts one."),
    StateInfo("stopped", "healthy", "Stopped by its manifest or by an operator; its port is closed."),
)
SERVICE_STATES: tuple[StateInfo, ...] = (
    StateInfo("failing", "failing", "The service cannot be provided, and what is tried keeps failing."),
    StateInfo("degraded", "degraded", "The service works, but its scheduled backups fail or are late."),
    StateInfo("starting", None, "The service or credentials to it are being made."),
    StateInfo("pending", None, "The service was not looked at yet."),
    StateInfo("stopping", None, "Its manifest was removed, and so is what it holds when its grace period is over."),
    StateInfo("retained", "healthy", "Its manifest was removed; what it holds is kept."),
    StateInfo("ready", "healthy", "The service works, and every app that uses it has credentials."),
)

ORIGIN_STATES: tuple[StateInfo, ...] = (
    StateInfo("refused", "degraded", "The newest commit is not accepted."),
    StateInfo("rewound", "degraded", "The newest commit does not descend from the accepted one."),
    StateInfo("missing", "degraded", "The branch, every tag, or every manifest of a directory is gone."),
    StateInfo("held", "degraded", "The newest commit removes most apps without saying so."),
    StateInfo("returned", "degraded", "The apps of the newest commit failed."),
    StateInfo("unreachable", "degraded", "The repository cannot be fetched."),
    StateInfo("stale", "degraded", "The repository has been silent for too long."),
    StateInfo("pending", None, "A commit is about to be judged and put in force."),
    StateInfo("paused", "healthy", "An operator paused the origin."),
    StateInfo("waiting", "healthy", "A newer commit waits for its wave of hosts."),
    StateInfo("trial", "healthy", "A commit of the trial branch is in force."),
    StateInfo("current", "healthy", "The newest commit is in force."),
)

SCHEDULE_STATES: tuple[StateInfo, ...] = (
    StateInfo("failing", "failing", "Its last task failed, after every retry."),
    StateInfo("late", "degraded", "A task did not start within five minutes of its time."),
    StateInfo("overlong", "degraded", "A task runs for much longer than the last ones did."),
    StateInfo("ready", "healthy", "Its last task succeeded."),
)

SEVERITIES: dict[str, Severity | None] = {state.name: state.severity for state in (*APP_STATES, *SERVICE_STATES)}

# Followed by another state without a further cause, as long as a daemon is running.
TRANSIENT_STATES = frozenset(("pending", "staging", "starting", "stopping"))

# The order in which apps and services are listed together.
WORST_FIRST: tuple[str, ...] = tuple(dict.fromkeys(state.name for state in (*APP_STATES, *SERVICE_STATES)))
