"""Write objects as YAML or JSON that every reader takes for the same: the same objects, the same bytes."""

import json
import re
from collections.abc import Sequence
from typing import Any

import yaml

from reconciler.cluster.pods import Object

# Texts that no reader takes for a number, a time or a truth value; all others are quoted.
_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9/._@:+=-]*(?<!:)")
_WORDS = frozenset(("y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf"))


class _Dumper(yaml.SafeDumper):
    """Quotes what a reader of another version of YAML could take for something else, and has no aliases."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002  yaml calls it so
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002  the same
        super().increase_indent(flow, False)


def _text(dumper: _Dumper, text: str) -> Any:
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return dumper.represent_scalar("tag:yaml.org,2002:str", text)
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"')


_Dumper.add_representer(str, _text)


def as_yaml(objects: Sequence[Object]) -> str:
    """Return the objects as documents of YAML."""
    return "".join(
        "---\n" + yaml.dump(each, Dumper=_Dumper, sort_keys=False, width=4096, allow_unicode=True) for each in objects
    )


def as_json(objects: Sequence[Object]) -> str:
    """Return the objects as one List in JSON."""
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": [*objects]}, indent=2, ensure_ascii=False) + "\n"
