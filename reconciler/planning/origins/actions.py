"""The actions on an origin in git, each with its cause in an operator's words."""

from typing import TypeAlias

from reconciler.linux.dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Fetch:
    """Ask the repository for the branch."""

    cause: str = "its time has come"


@dataclass(frozen=True, slots=True)
class Judge:
    """Decide whether a commit may be taken."""

    commit: str
    cause: str


@dataclass(frozen=True, slots=True)
class JudgeTrial:
    """Decide whether the commit of the trial branch may be tried."""

    commit: str
    cause: str


@dataclass(frozen=True, slots=True)
class Materialise:
    """Write the files of an accepted commit to the disk."""

    commit: str
    cause: str = "it was accepted"


@dataclass(frozen=True, slots=True)
class TakeEffect:
    """Let the manifests come from a commit from now on."""

    commit: str
    cause: str = "it was accepted, and its files are on the disk"


@dataclass(frozen=True, slots=True)
class Leave:
    """Go back from a commit whose apps fail to the last one that was good."""

    commit: str
    good: str
    cause: str


@dataclass(frozen=True, slots=True)
class LeaveTrial:
    """Go back from the commit of the trial branch, whose apps fail, to the accepted one."""

    commit: str
    cause: str


@dataclass(frozen=True, slots=True)
class Report:
    """Tell the other hosts of the fleet how this one is with its commit."""

    cause: str = "it has something new to say, or was silent for long"


@dataclass(frozen=True, slots=True)
class Tidy:
    """Remove what is left of earlier commits and of work that was interrupted."""

    cause: str = "something is left over"


Action: TypeAlias = Fetch | Judge | JudgeTrial | Materialise | TakeEffect | Leave | LeaveTrial | Report | Tidy
