"""List the settings that are in force on this host, as the settings file would have them."""

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from reconciler.documents.units import duration_s, size_bytes
from reconciler.linux.dataclass import dataclass
from reconciler.settings.setting import Setting, declared_by
from reconciler.settings.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingInForce:
    """A scalar setting: its path in the file, such as `logs.limit`, and its value there, a size to the megabyte."""

    path: str
    text: str
    is_default: bool


def settings_in_force(settings: Settings) -> Iterator[SettingInForce]:
    """Yield every scalar setting, by its name; lists, servers and secrets are left out."""
    declared = (
        (setting.path, each, setting) for each in fields(settings) if (setting := declared_by(each)) is not None
    )
    for _, each, setting in sorted(declared, key=lambda found: found[0]):
        value = getattr(settings, each.name)
        computed = each.default_factory() if callable(each.default_factory) else each.default
        yield SettingInForce(path=".".join(setting.path), text=_text(setting, value), is_default=value == computed)


def _text(setting: Setting, value: Any) -> str:
    if value is None:
        return "none"
    if setting.default is not None and setting.read(setting.default) == value:
        return setting.default
    if setting.read is duration_s:
        return f"{value:g}s"
    if setting.read is size_bytes:
        return f"{value / 2**20:.0f}M"
    return str(value)
