"""The types of notification targets by name; the module of each is imported when the host's settings first name it."""

import importlib
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reconciler.notifications.target import Target

TYPES: Mapping[str, str] = {
    "webhook": "reconciler.notifications.targets.webhook:Webhook",
    "command": "reconciler.notifications.targets.command:Command",
    "smtp": "reconciler.notifications.targets.smtp:Smtp",
}


@cache
def target_type(name: str) -> "type[Target]":
    """Return the class of a type; raises KeyError."""
    module, _, class_name = TYPES[name].partition(":")
    found: type[Target] = getattr(importlib.import_module(module), class_name)
    return found
