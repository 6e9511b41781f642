"""Correct what was last reported of an app while no daemon is running: nothing is under way, and nothing retried."""

from dataclasses import replace

from reconciler.state.records import AppStatus


def without_daemon(last: AppStatus, *, serves: bool) -> AppStatus:
    """Correct what was last reported: without a daemon a crashed app stays down, and no work is under way."""
    if last.state == "running" and not serves:
        from reconciler.planning.reason import Reason

        message = "no instance is running, and no daemon is running to start one"
        return replace(last, state="failing", reason=Reason.NOT_RUNNING, message=message)
    if last.state in {"staging", "starting", "stopping", "canary"} or (last.state == "running" and _is_deploying(last)):
        return _interrupted(last, serves=serves)
    if last.next_try_at is not None:
        return replace(last, message=f"{last.message}; no daemon is running to retry it", next_try_at=None)
    return last


def _interrupted(last: AppStatus, *, serves: bool) -> AppStatus:
    """Return the status of an app on which work was under way when the daemon ended."""
    from reconciler.planning.reason import Reason

    at = f"{last.state}, {last.message}" if last.message else last.state
    message = f"no daemon is running to continue; it ended while the app was {at}"
    state = "degraded" if serves else "stopped" if last.state == "stopping" else "failing"
    return replace(last, state=state, reason=Reason.INTERRUPTED, message=message, next_try_at=None)


def _is_deploying(last: AppStatus) -> bool:
    """Return whether an app that serves was being handed over to another instance."""
    from reconciler.planning.reason import Reason

    return last.reason in {
        Reason.HANDING_OVER, Reason.READING_SOURCE, Reason.STAGING, Reason.RELEASING, Reason.FIRST_TIME,
        Reason.SOURCE_CHANGED, Reason.CONFIGURATION_CHANGED, Reason.RESTART_REQUESTED, Reason.NOT_LISTENING,
        Reason.LISTENER_LOST, Reason.UNHEALTHY, Reason.WORKER_WAITING,
    }  # fmt: skip
