"""Hold what becomes a document of a manifest: its fields, its secrets, and notes on what it could not take over."""

import re
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Any, Literal

from reconciler.documents.names import LONGEST_NAME, is_variable_name, name_from
from reconciler.inspection.imports.ledger import Item, Ledger, Note, quoted
from reconciler.linux.dataclass import dataclass
from reconciler.vault.secret_patterns import secrets_in

_ADDRESS = "the daemon sets it: it is the field 'port'"
_RESERVED = "the daemon sets variables that begin with VCAP_"
# Where an unknown value would be, in what tools and people write in templates.
_PLACEHOLDER = re.compile(r"\$\{?[A-Za-z_][\w:?+-]*\}?|\{\{.*\}\}|<[^>]*>")
TO_FILL_IN = re.compile(r"\{\{[^{}]*+\}\}|\{[A-Za-z][\w -]*\}|<[A-Za-z][\w -]*>")
# Where programs lie without being named: what the daemon's PATH has, or the app's environment.
_USUAL_PATH = re.compile(r"(?:/usr(?:/local)?)?/s?bin|\S*/bin/?|\$\{?PATH\}?|%\(ENV_PATH\)s|")


@dataclass(frozen=True, slots=True)
class Secret:
    """A value that is written to a file of its own, and never into a manifest."""

    value: str = field(repr=False)


@dataclass(slots=True, kw_only=True)
class Draft:
    """A document before it is written: `fields` are those of the manifest, but that values of `env` can be Secrets."""

    name: str
    kind: Literal["app", "service"] = "app"
    fields: dict[str, Any] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)

    def set_variable(self, ledger: Ledger, item: Item, name: str, value: str) -> None:
        """Take over an environment variable, as a secret where its name or its text says so."""
        if name == "PORT":
            self.set_port(ledger, item, value, _ADDRESS)
        elif name == "PATH" and all(_USUAL_PATH.fullmatch(each) for each in value.split(":")):
            ledger.use(item)  # the daemon sets it, with the app's environment in front
        elif name.startswith("VCAP_"):
            ledger.leave([item], _RESERVED, self.notes)
        elif not is_variable_name(name):
            ledger.leave([item], "a variable's name has letters, digits and '_' only", self.notes)
        elif "\0" in value:
            ledger.leave([item], "no variable can hold a NUL character", self.notes)
        elif _PLACEHOLDER.fullmatch(value):
            ledger.leave(
                [item], f"its value is not in the file: add {name} to 'env', a secret as {{file: …}}", self.notes
            )
        else:
            ledger.use(item)
            if name == "PYTHONPATH":
                source = str(self.fields.get("path", "."))
                value = ":".join(_within(each, source) for each in value.split(":"))
            env = self.fields.setdefault("env", {})
            env[name] = Secret(value) if secrets_in({name: value}) else value

    def set_path(self, ledger: Ledger, item: Item, path: str) -> None:
        """Take over where the source is: where the file is, for a path with a place to fill in."""
        if TO_FILL_IN.search(path) or set(path) & set("$%"):
            ledger.leave([item], "set 'path' to the app's source", self.notes)
            path = "."
        else:
            ledger.use(item)
        self.fields["path"] = path

    def note_guessed_source(self, item: Item, directory: Path) -> None:
        """Say that nothing names the source, where what the app is served from is not beside the file."""
        module = str(self.fields.get("entrypoint", "")).partition(":")[0].partition(".")[0]
        here = (directory / module).is_dir() or (directory / f"{module}.py").is_file()
        if self.fields.get("path") == "." and not here:
            advice = "it runs where its server was started, which is not in the file: set 'path' to the app's source"
            self.notes.append(Note(file=item.file, line=item.line, original=quoted([item]), advice=advice))

    def set_port(self, ledger: Ledger, item: Item, text: str, advice: str) -> None:
        """Take over a port; any other text is left with the advice."""
        if text.isdecimal() and 0 < int(text) <= 65535:
            ledger.use(item)
            self.fields.setdefault("port", int(text))
        else:
            ledger.leave([item], advice, self.notes)

    def set_number(self, ledger: Ledger, item: Item, name: str, most: int = 1000) -> None:
        """Take over a number of workers or threads; any other text is left."""
        if item.value.strip().isdecimal() and 1 <= int(item.value) <= most:
            ledger.use(item)
            self.fields[name] = int(item.value)
        else:
            ledger.leave([item], f"set the field '{name}' to a number", self.notes)

    def bind(self, service: str) -> None:
        """Bind a service, once."""
        services = self.fields.setdefault("services", [])
        if service not in services:
            services.append(service)


def unique_name(text: str, taken: Mapping[str, object] | set[str], otherwise: str = "app") -> str:
    """Return a text made a name that is not taken."""
    name = base = name_from(text) or otherwise
    number = 2
    while name in taken:
        end = f"-{number}"
        name = f"{base[: LONGEST_NAME - len(end)]}{end}"
        number += 1
    return name


def _within(directory: str, source: str) -> str:
    """Return a directory of the source as one below it, as each build is a copy; any other as it is."""
    below = directory.removeprefix(source.rstrip("/"))
    return below.lstrip("/") or "." if source.startswith("/") and below != directory else directory
