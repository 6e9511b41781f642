"""List what is not as its manifest asks, from the status of a host: what `status --check` fails for."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from reconciler.planning.reason import KEPT_WITHOUT_MANIFEST, Reason
from reconciler.planning.states import SEVERITIES

if TYPE_CHECKING:
    from reconciler.inspection.status import AppRow, HostStatus, ServiceRow

# What an app is told of that serves as desired; any other reason is of work under way, or of a failure.
_AT_REST = frozenset(
    {
        Reason.NONE,
        Reason.SERVING,
        Reason.FILES_IN_BUILD,
        Reason.SCALED_BY_OPERATOR,
        Reason.SLEEPING,
        Reason.MANIFEST_STOPS,
        Reason.MAINTENANCE,
    }
)


def not_up_to_date(status: "HostStatus") -> Iterator[str]:
    """Yield each app, service and manifest that is not as it is asked for, with its state."""
    yield from (f"{app.name} ({_word(app)})" for app in status.apps if not _is_app_up_to_date(app))
    yield from (f"service {one.name} ({one.state})" for one in status.services if not _is_service_up_to_date(one))
    told = {app.manifest for app in status.apps if app.state == "invalid"}
    for entry in status.manifests:
        if entry["errors"] and entry["file"] not in told:
            yield f"{entry['file']} (refused)"
    yield from (f"origin {each['name']} ({each['state']})" for each in status.origins if each["state"] != "current")
    if status.notice:
        yield status.notice


def _is_app_up_to_date(app: "AppRow") -> bool:
    return SEVERITIES.get(app.state) == "healthy" and app.override is None and app.reason in _AT_REST


def _is_service_up_to_date(service: "ServiceRow") -> bool:
    return SEVERITIES.get(service.state) == "healthy" or service.reason in KEPT_WITHOUT_MANIFEST


def _word(app: "AppRow") -> str:
    if app.override is not None:
        return f"{app.override.kind} by an operator"
    return app.state if SEVERITIES.get(app.state) != "healthy" else f"{app.state}, {app.message or app.reason}"
