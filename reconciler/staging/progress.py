"""The progress of staging as a value (activity, detail, elapsed time), which is formatted where it is shown."""

from collections.abc import Callable
from dataclasses import field
from typing import TypeAlias

from reconciler.linux.dataclass import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """What staging is doing: `activity` such as "installing requirements.txt", how far it is, and for how long.

    `elapsed_s` counts whole seconds; `waits` says that others have to make something first. As text it is one sentence:
    "installing uv.lock: fetching 3 packages (12 s)".
    """

    activity: str
    detail: str = ""
    elapsed_s: int = 0
    waits: bool = field(default=False, compare=False)

    def __str__(self) -> str:
        return f"{self.work} ({self.elapsed_s} s)" if self.elapsed_s else self.work

    @property
    def work(self) -> str:
        """The sentence without the time, which two reports of the same work have in common."""
        return f"{self.activity}: {self.detail}" if self.detail else self.activity


Progress: TypeAlias = Callable[[Phase], None]
ENVIRONMENT_OF_ANOTHER = Phase(activity="waiting for an environment that another app is creating", waits=True)
