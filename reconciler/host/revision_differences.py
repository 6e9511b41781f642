"""Compare two revisions of an app, field by field, in a manifest's words and with secrets hidden."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from reconciler.linux.dataclass import dataclass
from reconciler.planning.apps.revision import TREE_MARK
from reconciler.vault.command_lines import redacted_command
from reconciler.vault.given_values import is_harmless
from reconciler.vault.secret import HIDDEN
from reconciler.vault.secret_patterns import is_secret_name, redacted

if TYPE_CHECKING:
    from reconciler.planning.apps.app import App
    from reconciler.planning.apps.observed import Observed
    from reconciler.planning.apps.revision import Bound, Revision

_PINNED, _PATH = "build.source.pinned", "build.source.path"
_CONTENT, _COMMIT = "build.content", "build.commit"
# The field's name in a manifest, where it is another one.
_IN_A_MANIFEST: Mapping[str, str] = {
    "build.source.path": "path",
    "build.source.pinned": "manifest (watch: false)",
    _CONTENT: "source",
    "build.commit": "commit",
    "address.host": "host",
    "address.port": "port",
    "beside.host": "host",
    "beside.port": "port",
    "server.start_timeout_s": "health.start_timeout",
    "server.stop_timeout_s": "stop_timeout",
    "server.health.timeout_s": "health.timeout",
    "server.counts": "may sleep",
}
_SHORT, _SHORT_CONTENT = 7, 12
_WITHOUT = ("build.recipe.", "server.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One field that differs; None on the side where it is not set."""

    field: str
    before: str | None
    after: str | None

    def __str__(self) -> str:
        before, after = ("not set" if side is None else side for side in (self.before, self.after))
        return f"{self.field}: {before} → {after}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The differences of the wanted revision from `before`, a revision's id, which serves or has served last."""

    before: str
    serves: bool
    changes: tuple[Change, ...]


def difference(app: "App | None", observed: "Observed", wanted: str | None) -> Difference | None:
    """Compare the wanted revision with the one that serves or served last; None if they are equal or one is unknown.

    The content of a revision is known once it has passed its probation.
    """
    serving = next((instance.revision for instance in observed.instances if instance.serves), None)
    before = serving if serving is not None else next((revision.id for revision in observed.known_good), None)
    if before is None or wanted == before:
        return None
    known = {revision.id: revision for revision in observed.known_good}
    if observed.override is not None and observed.override.revision is not None:
        known[observed.override.revision.id] = observed.override.revision
    if app is not None and observed.source is not None and not observed.inputs.missing:
        desired = observed.inputs.revision(app, observed.source.content)
        known[desired.id] = desired
    if wanted not in known or before not in known:
        return None
    return Difference(before=before, serves=serving is not None, changes=changes(known[before], known[wanted]))


def changes(before: "Revision", after: "Revision") -> tuple[Change, ...]:
    """Return each field that differs, by name; of a secret, only that it differs."""
    old, new = _fields(before), _fields(after)
    shown_old, shown_new = _hidden(old), _hidden(new)
    return tuple(
        Change(field=_shown_name(name), before=shown_old.get(name), after=shown_new.get(name))
        for name in sorted({*old, *new}, key=lambda name: (_shown_name(name), name))
        if old.get(name) != new.get(name)
    )


def _hidden(found: Mapping[str, str]) -> dict[str, str]:
    return {
        field: HIDDEN if _is_secret(field, text) else _of_field(field, redacted(text)) for field, text in found.items()
    }


def _is_secret(field: str, text: str) -> bool:
    name = field.rpartition(".")[2]
    if field.startswith("env."):
        return text.startswith(HIDDEN) or not is_harmless(name, text)
    return is_secret_name(name)


def _of_field(field: str, text: str) -> str:
    return redacted_command(text) if field == "release" else text


def _fields(revision: "Revision") -> dict[str, str]:
    """Return every field that is set, as text, by its path."""
    facts = asdict(revision)
    del facts["app"], facts["bindings"], facts["env_secrets"]
    facts["server"]["gunicorn"] = facts["server"].pop("settings")
    found = {path: _text(value) for path, value in _flat(facts) if value is not None}
    for name, length in ((_COMMIT, _SHORT), (_CONTENT, _SHORT_CONTENT)):
        if name in found:
            found[name] = found[name][:length]
    if found.get(_PINNED, "").startswith(TREE_MARK):
        # It says the same as the content, which people can read; so does a path that ends with it.
        tree = found.pop(_PINNED).removeprefix(TREE_MARK)
        if found[_PATH].endswith(f"/{tree}"):
            del found[_PATH]
    # The ids of secret values differ when the values do, and reveal nothing about them.
    found |= {f"env.{name}": f"{HIDDEN} {value}" for name, value in revision.env_secrets.items()}
    for bound in revision.bindings:
        found |= {f"services.{bound.service}.{field}": text for field, text in _of_binding(bound)}
    return found


def _of_binding(bound: "Bound") -> Iterator[tuple[str, str]]:
    for field in ("type", "label", "plan", "name", "instance"):
        value = getattr(bound, field)
        if value is not None:
            yield field, _text(value)
    yield "grant", f"{bound.grant} {bound.credentials}"


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _flat(inner, f"{path}.{name}" if path else str(name))
    elif value not in ({}, ()):
        yield path, value


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _shown_name(path: str) -> str:
    if path in _IN_A_MANIFEST:
        return _IN_A_MANIFEST[path]
    return next((path.removeprefix(start) for start in _WITHOUT if path.startswith(start)), path)
