"""Weights of a canary: what a whole is divided into, and by what."""

from typing import Literal, TypeAlias

By: TypeAlias = Literal["connection", "client"]

WHOLE = 1000


def percent(share: float) -> str:
    """Return a share in words: `5%`, `0.24%`."""
    return f"{100 * share:.2g}%" if share < 0.1 else f"{100 * share:.0f}%"
