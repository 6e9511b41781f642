"""Recognise secrets by their name or their shape, and hide them in text that people or other programs read."""

import json
import re
from collections.abc import Collection, Mapping

HIDDEN = "•••"


_SECRET_NAMES = re.compile(r"KEY|SECRET|TOKEN|PASSWORD|PASS|CREDENTIAL|DSN", re.IGNORECASE)


_PASSWORD_IN_URL = re.compile(r"(?<=://)(?P<user>[^/\s:@]*):\S+@")


def masked(environment: Mapping[str, str], secret: Collection[str] = ()) -> dict[str, str]:
    """The environment with everything replaced that looks secret, or is."""
    return {name: HIDDEN if name in secret else _masked(name, value) for name, value in environment.items()}


def _masked(name: str, value: str) -> str:
    if name == "VCAP_SERVICES":  # its file's path is none
        return _without_credentials(value)
    if _SECRET_NAMES.search(name):
        return HIDDEN
    return _PASSWORD_IN_URL.sub(rf"\g<user>:{HIDDEN}@", value)


def _without_credentials(value: str) -> str:
    """VCAP_SERVICES with the names and labels of its services, but what opens them hidden."""

    def hide(node: object) -> object:
        if isinstance(node, dict):
            return {key: HIDDEN if key == "credentials" else hide(inner) for key, inner in node.items()}
        return [hide(inner) for inner in node] if isinstance(node, list) else node

    try:
        return json.dumps(hide(json.loads(value)), ensure_ascii=False)
    except ValueError:
        return HIDDEN
