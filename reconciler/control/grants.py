"""Grant the requests of operators by one table: each part of the daemon that can grant some adds its own to it."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeAlias

from reconciler.control.requests import REQUESTS, Refused
from reconciler.planning.desired_state import DesiredState

# A request and the name of who asks; what was done, as {"done": sentence}, or facts. Raises Refused.
Grant: TypeAlias = Callable[[dict[str, Any], str], dict[str, Any]]
# Of a request about one process of an app: another word for it than for the same of the app.
PROCESS = "process/"


class Manifests(Protocol):
    """What is desired now."""

    @property
    def catalog(self) -> DesiredState:
        """The desired state in force."""
        ...

    def confirm(self) -> bool:
        """Take the manifests as they are; return whether anything waits for that."""
        ...


class Grants:
    """The table: what grants a request, by the request's name."""

    def __init__(self, *parts: Mapping[str, Grant]) -> None:
        self._grants = {name: grant for part in parts for name, grant in part.items()}

    def grant(self, request: dict[str, Any], who: str) -> dict[str, Any]:
        """Return what was done, as {"done": sentence}, or facts. Raises Refused."""
        name, about = request.get("do"), PROCESS if "process" in request else ""
        grant = self._grants.get(f"{about}{name}")
        if grant is not None:
            return grant(request, who)
        if about:
            known = [each.removeprefix(PROCESS) for each in self._grants if each.startswith(PROCESS)]
            raise Refused(f"there is no request '{name}' about a process; there are {', '.join(known)}")
        raise Refused(f"there is no request '{name}'; there are {', '.join(REQUESTS)}")
