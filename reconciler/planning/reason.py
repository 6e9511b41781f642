"""Name, for programs, the reason of every plan, action, report and event; people read the message beside it."""

from enum import StrEnum

from reconciler.linux.dataclass import dataclass


class Reason(StrEnum):
    """A stable code for why something is as it is; the message beside it may be reworded at any time."""

    NONE = ""

    # The manifest, and what it points to.
    FIRST_TIME = "first-time"
    MANIFEST_CHANGED = "manifest-changed"
    MANIFEST_REMOVED = "manifest-removed"
    MANIFEST_REFUSED = "manifest-refused"
    MANIFEST_RESTORED = "manifest-restored"
    MANIFEST_STOPS = "manifest-stops"
    MAINTENANCE = "maintenance"
    ADDRESS_CHANGED = "address-changed"
    CONFIGURATION_CHANGED = "configuration-changed"
    SOURCE_CHANGED = "source-changed"
    SOURCE_UNREADABLE = "source-unreadable"
    SOURCE_BUSY = "source-busy"
    SCALING = "scaling"
    SATURATED = "saturated"
    SCALE_UNKNOWN = "scale-unknown"
    FILES_IN_BUILD = "files-in-build"
    LIMITS_CHANGED = "limits-changed"
    DRIFTED = "drifted"
    SERVING_AT_BOTH = "serving-at-both"
    LIMITS_WATCHED = "limits-watched"
    ISOLATION_INCOMPLETE = "isolation-incomplete"

    # Origins in git, and their commits.
    COMMIT_FETCHED = "commit-fetched"
    COMMIT_ACCEPTED = "commit-accepted"
    COMMIT_APPLIED = "commit-applied"
    COMMIT_REFUSED = "commit-refused"
    COMMIT_REWOUND = "commit-rewound"
    COMMIT_MISSING = "commit-missing"
    COMMIT_HELD = "commit-held"
    COMMIT_RETURNED = "commit-returned"
    COMMIT_WAITING = "commit-waiting"
    ORIGIN_UNREACHABLE = "origin-unreachable"
    ORIGIN_STALE = "origin-stale"
    ORIGIN_PAUSED = "origin-paused"
    STATUS_NOT_TAKEN = "status-not-taken"
    REPORT_FAILED = "report-failed"
    REPORT_REFUSED = "report-refused"
    HISTORY_DIFFERS = "history-differs"
    FLEET_SILENT = "fleet-silent"
    HOST_NAME_SHARED = "host-name-shared"

    # Requests of an operator.
    STOPPED_BY_OPERATOR = "stopped-by-operator"
    ROLLED_BACK_BY_OPERATOR = "rolled-back-by-operator"
    MAINTENANCE_BY_OPERATOR = "maintenance-by-operator"
    SCALED_BY_OPERATOR = "scaled-by-operator"
    RESTART_REQUESTED = "restart-requested"
    RETRY_REQUESTED = "retry-requested"
    OVERRIDE_ENDED = "override-ended"

    # Tasks and schedules.
    TASK_REQUESTED = "task-requested"
    TASK_SUCCEEDED = "task-succeeded"
    TASK_FAILED = "task-failed"
    TASK_CANCELLED = "task-cancelled"
    SCHEDULE_LATE = "schedule-late"
    SCHEDULE_MISSED = "schedule-missed"
    SCHEDULE_SKIPPED = "schedule-skipped"
    SCHEDULE_FAILED = "schedule-failed"
    SCHEDULE_RECOVERED = "schedule-recovered"
    SCHEDULE_TOO_LONG = "schedule-too-long"
    PING_FAILED = "ping-failed"

    # Work under way.
    READING_SOURCE = "reading-source"
    STAGING = "staging"
    RELEASING = "releasing"
    HANDING_OVER = "handing-over"

    # Listeners and instances, as they are found.
    NOT_LISTENING = "not-listening"
    NOT_RUNNING = "not-running"
    NOT_SERVING = "not-serving"
    INTERRUPTED = "interrupted"
    SERVING = "serving"
    LISTENER_LOST = "listener-lost"
    SURPLUS = "surplus"
    OBSOLETE = "obsolete"
    PROBATION_PASSED = "probation-passed"
    CANARY = "canary"
    PROMOTED = "promoted"
    ABORTED = "aborted"

    # Sleeping and waking.
    SLEEPING = "sleeping"
    GATE_PASSED = "gate-passed"
    IDLE = "idle"
    WAKING = "waking"

    # Waiting for others.
    WAITING_FOR_APPS = "waiting-for-apps"
    WAITING_FOR_DEPENDENTS = "waiting-for-dependents"
    WAITING_FOR_INPUTS = "waiting-for-inputs"
    WAITING_FOR_SOURCE = "waiting-for-source"
    INPUTS_STALE = "inputs-stale"
    SERVICE_DOWN = "service-down"
    SERVICE_RECOVERED = "service-recovered"

    # The proxy, and the domains that it serves.
    DOMAINS_CHANGED = "domains-changed"
    LOOK_DUE = "look-due"
    DOMAIN_UNSERVED = "domain-unserved"
    CERTIFICATE_EXPIRES = "certificate-expires"

    # Failures, and what follows from them.
    ACTION_FAILED = "action-failed"
    NO_EFFECT = "no-effect"
    INTERNAL_ERROR = "internal-error"
    NO_FILES_LEFT = "no-files-left"
    LOG_CUT = "log-cut"
    DRAIN_FAILED = "drain-failed"
    DRAIN_RECOVERED = "drain-recovered"
    PRUNE_CONFIRMED = "prune-confirmed"
    EXITED = "exited"
    CRASHED = "crashed"
    STAGING_FAILED = "staging-failed"
    REVISION_REJECTED = "revision-rejected"
    FALLEN_BACK = "fallen-back"
    UNHEALTHY = "unhealthy"
    WORKER_EXITED = "worker-exited"
    WORKER_WAITING = "worker-waiting"
    PROCESS_AILING = "process-ailing"
    LIMIT_NEAR = "limit-near"
    LIMIT_EXCEEDED = "limit-exceeded"
    ONLY_CLIENT_ERRORS = "only-client-errors"
    ONLY_SERVER_ERRORS = "only-server-errors"

    # Services and the credentials of apps to them.
    MISCONFIGURED = "misconfigured"
    SERVER_CHANGED = "server-changed"
    BINDING_ADDED = "binding-added"
    BINDING_REMOVED = "binding-removed"
    PARAMETERS_CHANGED = "parameters-changed"
    CREDENTIALS_DOUBTED = "credentials-doubted"
    CREDENTIALS_RETIRED = "credentials-retired"
    CREDENTIALS_REPLACED = "credentials-replaced"
    VERIFICATION_DUE = "verification-due"
    BACKUP_DUE = "backup-due"
    BACKUP_FAILED = "backup-failed"
    BACKUP_LATE = "backup-late"
    BACKUP_RECOVERED = "backup-recovered"
    RETAINED = "retained"
    GRACE_PERIOD = "grace-period"
    STILL_USED = "still-used"


@dataclass(frozen=True, slots=True)
class Cause:
    """The cause of an action or a state: a reason for programs, a text for operators."""

    reason: Reason
    text: str


# Of an app that an operator holds back from what its manifest asks.
HELD_BY_OPERATOR = frozenset(
    {Reason.STOPPED_BY_OPERATOR, Reason.ROLLED_BACK_BY_OPERATOR, Reason.MAINTENANCE_BY_OPERATOR}
)
# Of an app whose desired revision was built and then failed; that of one that cannot be built is STAGING_FAILED.
REJECTED = frozenset({Reason.REVISION_REJECTED, Reason.FALLEN_BACK})
# Of an app whose clients get the holding page because that is meant.
IN_MAINTENANCE = frozenset({Reason.MAINTENANCE, Reason.MAINTENANCE_BY_OPERATOR})
# Of a service that is kept after its manifest was removed, as was asked for.
KEPT_WITHOUT_MANIFEST = frozenset({Reason.RETAINED, Reason.GRACE_PERIOD, Reason.STILL_USED})
# Of a service whose scheduled backups are not made.
BACKUP_TROUBLES = frozenset({Reason.BACKUP_FAILED, Reason.BACKUP_LATE})
