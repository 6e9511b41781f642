"""The fingerprint of an app's source as the daemon would read it now."""

from typing import TYPE_CHECKING

from reconciler.linux.dataclass import dataclass
from reconciler.staging.errors import SourceError
from reconciler.staging.source.snapshot import fingerprint

if TYPE_CHECKING:
    from reconciler.planning.apps.app import App


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceReading:
    """The fingerprint of an app's source: the current one, or the last one known and why there is no newer one."""

    content: str | None
    problem: str | None = None


def read_source(app: "App", known: str | None = None, path: str | None = None) -> SourceReading:
    """Read an app's source, at `path` if given; if it cannot be read, return the `known` fingerprint and why."""
    if app.source.missing:
        return SourceReading(content=known, problem=app.source.missing)
    try:
        return SourceReading(content=fingerprint(path or app.source.path))
    except SourceError as error:
        said = str(error)
        return SourceReading(content=known, problem=said.replace(path, app.source.path) if path else said)
