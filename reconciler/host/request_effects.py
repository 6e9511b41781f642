"""Say what an operator can request of an app, and let each request take effect where the next plan sees it."""

from collections.abc import MutableMapping
from dataclasses import replace
from typing import Literal, TypeAlias

from reconciler.planning.apps.observed import HeldWorkers, Override
from reconciler.state.revision_history import RevisionHistory

OperatorRequest: TypeAlias = (
    Override | HeldWorkers | Literal["start", "restart", "forget-failure", "scale", "promote", "abort"]
)


def take_request(
    name: str,
    request: OperatorRequest,
    history: RevisionHistory,
    restart_before: MutableMapping[str, float],
    now: float,
) -> None:
    """Let a request take effect; `restart_before` says which instances of an app are to be replaced, by their start."""
    match request:
        case Override():
            history.set_override(name, request)
        case HeldWorkers():
            history.hold_workers(name, request)
        case "scale":
            history.hold_workers(name, None)
        case "start":
            history.set_override(name, None)
        case "restart":
            restart_before[name] = now
        case "forget-failure":
            history.forget_failures(name)
        case "promote" | "abort":
            canary = history.of(name).canary
            if canary is not None:
                wish = {"promoted": True} if request == "promote" else {"harm": "an operator aborted it"}
                history.set_canary(name, replace(canary, **wish))
