"""The result of one check of this host."""

from typing import Literal, TypeAlias

from reconciler.linux.dataclass import dataclass

Level: TypeAlias = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What was found about one subject, and what to do about it; `fail` means that apps cannot be served."""

    level: Level
    subject: str
    found: str
    advice: str = ""
