"""Say to programs why something is as it is: the code beside every message that people read."""

from enum import StrEnum


class Reason(StrEnum):
    """Why a plan, a report, an event or a status is as it is; stable, where the sentence beside it may be reworded."""

    NONE = ""
    # What is desired.
    MANIFEST_CHANGED = "manifest-changed"
    MANIFEST_REMOVED = "manifest-removed"
    MANIFEST_STOPS = "manifest-stops"
    MAINTENANCE = "maintenance"
    SOURCE_CHANGED = "source-changed"
    SOURCE_UNREADABLE = "source-unreadable"
    # What an operator requested.
    STOPPED_BY_OPERATOR = "stopped-by-operator"
    ROLLED_BACK_BY_OPERATOR = "rolled-back-by-operator"
    RESTART_REQUESTED = "restart-requested"
    # What is under way.
    FIRST_START = "first-start"
    STAGING = "staging"
    RELEASING = "releasing"
    STARTING = "starting"
    HANDING_OVER = "handing-over"
    WAKING = "waking"
    IDLE = "idle"
    # What it waits for.
    WAITING_FOR_APPS = "waiting-for-apps"
    WAITING_FOR_DEPENDENTS = "waiting-for-dependents"
    WAITING_FOR_INPUTS = "waiting-for-inputs"
    # What failed.
    ACTION_FAILED = "action-failed"
    NO_EFFECT = "no-effect"
    REVISION_REJECTED = "revision-rejected"
    CRASHED = "crashed"
    UNHEALTHY = "unhealthy"
    FALLEN_BACK = "fallen-back"
    INTERNAL_ERROR = "internal-error"
