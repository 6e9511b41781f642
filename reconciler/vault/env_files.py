"""Variables that apps take from files, stored in the vault, so that a value outlives its file."""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.planning.apps.app import MOST_VARIABLES, App
from reconciler.planning.processes.process import Process
from reconciler.vault.dotenv import Unusable
from reconciler.vault.secret_reader import SecretReader
from reconciler.vault.vault import Vault, VaultLocked

if TYPE_CHECKING:  # most apps have no schedule
    from reconciler.planning.schedules.schedule import Schedule

# Linux's MAX_ARG_STRLEN: exec refuses a longer NAME=value, with its ending NUL.
_LONGEST_VARIABLE = 128 * 1024 - 1
_TAKEN = ("VCAP_", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "GUNICORN_CMD_ARGS")


class EnvFiles:
    """The last valid content of every file, by app, and the problem if a newer one cannot be read."""

    def __init__(self, database: sqlite3.Connection, vault: Vault) -> None:
        self._database = database
        self._vault = vault
        self._values = self._stored()
        self._problems: dict[tuple[str, str], str] = {}

    def of(self, app: App) -> tuple[dict[str, str], tuple[str, ...], tuple[str, ...]]:
        """Return the ids of an app's values by variable, what is missing, and what is out of date."""
        return self._held(app.name, (key for _, key in _files(app)))

    def of_part(self, app: str, part: "Process | Schedule") -> tuple[dict[str, str], tuple[str, ...], tuple[str, ...]]:
        """Return the same of what a process or a schedule of an app takes from files of its own."""
        return self._held(app, (key for _, key in _files_of_part(part)))

    def _held(self, app: str, keys: Iterable[str]) -> tuple[dict[str, str], tuple[str, ...], tuple[str, ...]]:
        values: dict[str, str] = {}
        missing, stale = [], []
        for key in keys:
            known, problem = self._values.get((app, key)), self._problems.get((app, key))
            if known is not None:
                values |= known
            if known is None:
                missing.append(problem or f"{_path(key)}: not read yet")
            elif problem is not None:
                stale.append(problem)
        return values, tuple(missing), tuple(stale)

    def problems(self, app: App) -> tuple[str, ...]:
        """Return what is missing and what is out of date, of an app, its processes and its schedules."""
        return tuple(text for _, missing, stale in self._all_of(app) for text in (*missing, *stale))

    def given(self, app: str) -> tuple[tuple[str, str], ...]:
        """Return variables and ids of the values that an app may have been given from any of its files.

        A value with a file of its own is a secret whatever its name: it has none here.
        """
        return tuple(
            (variable if path.startswith("/") else "", kept)
            for (name, path), values in self._values.items()
            if name == app
            for variable, kept in values.items()
        )

    def paths(self, app: App) -> frozenset[str]:
        """Return the files that an app, its processes and its schedules take variables from."""
        return files_of_variables(app)

    def known_paths(self, app: str) -> frozenset[str]:
        """Return the files that variables of an app have come from."""
        return frozenset(_path(key) for name, key in self._values if name == app)

    def uses(self, app: App) -> frozenset[tuple[str, str]]:
        """Return each file of an app with what it is read for."""
        return frozenset((_path(key), f"{app.name} {key}") for _, key in _every_file(app))

    async def refresh(self, app: App, reader: SecretReader) -> bool:
        """Read the files of an app again; return whether their content changed."""
        before = self._all_of(app)
        for name, key in _every_file(app):
            source = (app.name, key)
            try:
                read = await reader.in_thread(_read, reader, name, Path(_path(key)))
                if len(read.keys() | self._others(app, key)) > MOST_VARIABLES:
                    raise Unusable(f"{_path(key)}: the files of an app set at most {MOST_VARIABLES} variables")
                values = {variable: self._vault.put(text) for variable, text in read.items()}
            except (Unusable, VaultLocked) as error:
                self._problems[source] = f"{error} (for the variable {name})" if name is not None else str(error)
                continue
            self._problems.pop(source, None)
            if self._values.get(source) != values:
                self._store(app.name, key, values)
                self._values[source] = values
        return self._all_of(app) != before

    def _all_of(self, app: App) -> list[tuple[dict[str, str], tuple[str, ...], tuple[str, ...]]]:
        return [self.of(app), *(self.of_part(app.name, part) for part in app.parts if part.env_files)]

    def _others(self, app: App, key: str) -> frozenset[str]:
        """Return the variables that the other files of an app set."""
        others = (self._values.get((app.name, other), {}) for _, other in _files(app) if other != key)
        return frozenset().union(*others)

    def forget(self, app: str, desired: App | None) -> None:
        """Delete the values from files that the app's manifest does not name."""
        kept = frozenset() if desired is None else frozenset(key for _, key in _every_file(desired))
        for source in [p for p in self._values if p[0] == app and p[1] not in kept]:
            self._store(*source, None)
            del self._values[source]
        for source in [p for p in self._problems if p[0] == app and p[1] not in kept]:
            del self._problems[source]

    def known(self) -> frozenset[str]:
        """Return the apps with stored values."""
        return frozenset(app for app, _ in self._values)

    def versions(self) -> Iterator[str]:
        """Yield the id of every value in force."""
        for values in self._values.values():
            yield from values.values()

    def _stored(self) -> dict[tuple[str, str], dict[str, str]]:
        """Return the ids of the values of each app and file, by variable."""
        rows = self._database.execute("SELECT app, path, values_of FROM env_file").fetchall()
        return {(app, path): json.loads(values) for app, path, values in rows}

    def _store(self, app: str, path: str, values: Mapping[str, str] | None) -> None:
        """Store the values of a file; None deletes them."""
        if values is None:
            self._database.execute("DELETE FROM env_file WHERE app = ? AND path = ?", (app, path))
        else:
            row = (app, path, json.dumps(dict(values)))
            self._database.execute("INSERT OR REPLACE INTO env_file VALUES (?, ?, ?)", row)


def files_of_variables(app: App) -> frozenset[str]:
    """Return the files that an app, its processes and its schedules take variables from."""
    return frozenset(_path(key) for _, key in _every_file(app))


def _files(app: App) -> Iterator[tuple[str | None, str]]:
    """Yield each file's variable, None for a file of many, and its key in the records; later files take precedence."""
    for path in app.env_lists:
        yield None, path
    for name, path in app.env_files.items():
        yield name, f"{name}={path}"


def _files_of_part(part: "Process | Schedule") -> Iterator[tuple[str, str]]:
    """Yield each file's variable and its key in the records, which is of one process or one schedule alone."""
    of = part.name if isinstance(part, Process) else f"schedule {part.name}"
    for name, path in part.env_files.items():
        yield name, f"{of}:{name}={path}"


def _every_file(app: App) -> Iterator[tuple[str | None, str]]:
    """Yield each file as `_files` does, and then those of its processes and schedules."""
    yield from _files(app)
    for part in app.parts:
        yield from _files_of_part(part)


def _path(key: str) -> str:
    return key if key.startswith("/") else key.partition("=")[2]


def _read(reader: SecretReader, name: str | None, file: Path) -> Mapping[str, str]:
    found = {name: reader.value_of(file)} if name is not None else reader.variables_of(file)
    for variable, value in found.items():
        if variable.startswith(_TAKEN):
            raise Unusable(f"{file} sets {variable}, which is set by the daemon")
        if len(f"{variable}={value}".encode()) > _LONGEST_VARIABLE:
            raise Unusable(f"{file}: {variable} is longer than the 128 KiB that Linux allows for one variable")
    return found
