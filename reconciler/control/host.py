"""Grant the requests about this host as a whole: figures, a look at the manifests, outcomes, origins, removals."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from reconciler.control.grants import Grant, Manifests
from reconciler.control.requests import Refused
from reconciler.planning.reason import Reason
from reconciler.planning.subject import HOST
from reconciler.state.journal import Journal


class Outcomes(Protocol):
    """Whether everything is as the manifests ask."""

    def look(self) -> dict[str, Any]:
        """Have the manifests, the sources and the files of secrets looked at now; return which daemon this is."""
        ...

    def as_json(self, *, only_open: bool) -> dict[str, Any]:
        """Return the outcome of each app and service, or of those alone that are not up to date."""
        ...


class Origins(Protocol):
    """The origins in git."""

    def figures(self) -> dict[str, Any]:
        """Return what was done for each since this daemon began, in numbers, by name."""
        ...

    def grant(self, request: dict[str, Any], who: str) -> dict[str, Any]:
        """Return what was done, or facts. Raises Refused."""
        ...


class HostRequests:
    """Grants requests such as {"do": "look"}; `figures` each return what was done since this daemon began."""

    def __init__(
        self,
        manifests: Manifests,
        outcomes: Outcomes,
        journal: Journal,
        *,
        figures: Sequence[Callable[[], dict[str, Any]]],
        origins: Origins | None,
    ) -> None:
        self._manifests = manifests
        self._outcomes = outcomes
        self._journal = journal
        self._figures = figures
        self._origins = origins

    @property
    def grants(self) -> Mapping[str, Grant]:
        """What grants each of them, by its name."""
        return {
            "metrics": self._metrics,
            "look": lambda _, __: self._outcomes.look(),
            "outcomes": lambda request, _: self._outcomes.as_json(only_open=bool(request.get("open"))),
            "origin": self._origin,
            "prune": self._prune,
        }

    def _metrics(self, _: dict[str, Any], __: str) -> dict[str, Any]:
        found = {"origins": {} if self._origins is None else self._origins.figures()}
        for figures in self._figures:
            found |= figures()
        return found

    def _origin(self, request: dict[str, Any], who: str) -> dict[str, Any]:
        if self._origins is None:
            raise Refused("no origins in git; 'origins' in the host's settings names them")
        return self._origins.grant(request, who)

    def _prune(self, _: dict[str, Any], who: str) -> dict[str, Any]:
        if not self._manifests.confirm():
            raise Refused("the manifests can be read and none is missing, so there is nothing to confirm")
        text = "the manifests are taken as they are; apps whose manifest is gone are removed after 'prune_after'"
        self._journal.write(HOST, "request", text, f"requested by {who}", Reason.PRUNE_CONFIRMED)
        return {"done": text}
