"""Declare settings: where each one stands in the settings file, how its text becomes a value, and its default.

A field of `Settings` is declared by one call, so that its name, path, unit and default are in one place.
"""

from collections.abc import Callable
from dataclasses import Field, field
from typing import Any, TypeAlias

from reconciler.documents.units import duration_s, share_of_one, size_bytes, whole_number
from reconciler.linux.dataclass import dataclass

Path: TypeAlias = tuple[str, ...]

_KEY = "setting"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One scalar of the settings file. `default` is its text there, None when it is computed on each host.

    `least` is the smallest value as text; `above_zero` when the value must be greater than zero. `refuses` returns what
    is wrong with a value, empty when nothing is.
    """

    path: Path
    read: Callable[[str], Any]
    default: str | None
    least: str = ""
    above_zero: bool = False
    refuses: Callable[[Any], str] | None = None

    def problem(self, value: Any) -> str:
        """Return what is wrong with a value, empty when nothing is."""
        if self.above_zero and value <= 0:
            return "must be greater than zero"
        if self.least and value < self.read(self.least):
            return f"must be at least {self.least}"
        return "" if self.refuses is None else self.refuses(value)


def number(path: str, default: str | Callable[[], int]) -> Any:
    """Declare a field for a number."""
    return _declared(path, whole_number, default)


def most(path: str, read: Callable[[str], Any], *, least: str) -> Any:
    """Declare a field for an upper bound, None unless it is given."""
    return _declared(path, read, lambda: None, least=least)


def duration(path: str, default: str, *, may_be_zero: bool = False) -> Any:
    """Declare a field for a duration in seconds."""
    return _declared(path, duration_s, default, above_zero=not may_be_zero)


def share(path: str, default: str) -> Any:
    """Declare a field for a share of 1."""
    return _declared(path, share_of_one, default)


def size(path: str, default: str | Callable[[], int], *, least: str) -> Any:
    """Declare a field for a size in bytes."""
    return _declared(path, size_bytes, default, least=least)


def text(path: str, default: str, refuses: Callable[[str], str]) -> Any:
    """Declare a field for a text; `refuses` returns what is wrong with one, empty when nothing is."""
    return _declared(path, str, default, refuses=refuses)


def declared_by(of: "Field[Any]") -> Setting | None:
    """Return the setting of a field, None for a field that is not a scalar of the file."""
    setting: Setting | None = of.metadata.get(_KEY)
    return setting


def _declared(path: str, read: Callable[[str], Any], default: str | Callable[[], int | None], **limits: Any) -> Any:
    text = default if isinstance(default, str) else None
    metadata = {_KEY: Setting(path=tuple(path.split(".")), read=read, default=text, **limits)}
    if isinstance(default, str):
        return field(default=read(default), metadata=metadata)
    return field(default_factory=default, metadata=metadata)
