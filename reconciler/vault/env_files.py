"""What the files say from which apps take variables: kept in the vault, so that a value outlives its file."""

import asyncio
import json
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path

from reconciler.planning.desired import App
from reconciler.vault.dotenv import Unusable, content_of, pairs_of, value_of
from reconciler.vault.vault import Vault, VaultLocked

# Linux's MAX_ARG_STRLEN: exec refuses a longer NAME=value, with its ending NUL.
_LONGEST_VARIABLE = 128 * 1024 - 1
_TAKEN = ("VCAP_", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "GUNICORN_CMD_ARGS")


class EnvFiles:
    """The last good reading of every file, by app, and why there is no newer one."""

    def __init__(self, database: sqlite3.Connection, vault: Vault) -> None:
        self._database = database
        self._vault = vault
        self._values = self._stored()
        self._problems: dict[tuple[str, str], str] = {}

    def of(self, app: App) -> tuple[dict[str, str], tuple[str, ...], tuple[str, ...]]:
        """The ids of its variables' values, what is missing, and what is not the newest."""
        values: dict[str, str] = {}
        missing, stale = [], []
        for _, key in _files(app):
            known, problem = self._values.get((app.name, key)), self._problems.get((app.name, key))
            if known is not None:
                values |= known
            if known is None:
                missing.append(problem or f"{_path(key)}: it is being read")
            elif problem is not None:
                stale.append(problem)
        return values, tuple(missing), tuple(stale)

    def paths(self, app: App) -> frozenset[str]:
        """The files an app takes variables from."""
        return frozenset((*app.env_lists, *app.env_files.values()))

    def uses(self, app: App) -> frozenset[tuple[str, str]]:
        """The same, each with the app and the variable it is read for."""
        return frozenset((_path(key), f"{app.name} {key}") for _, key in _files(app))

    async def refresh(self, app: App) -> bool:
        """Read the files of an app again; True when what is known of them changed."""
        before = self.of(app)
        for name, key in _files(app):
            place = (app.name, key)
            try:
                read = await asyncio.to_thread(_read, name, Path(_path(key)))
                values = {variable: self._vault.put(text) for variable, text in read.items()}
            except (Unusable, VaultLocked) as error:
                self._problems[place] = str(error)
                continue
            self._problems.pop(place, None)
            if self._values.get(place) != values:
                self._store(app.name, key, values)
                self._values[place] = values
        return self.of(app) != before

    def forget(self, app: str, asked: App | None) -> None:
        """An app takes variables from no other files than its manifest says."""
        kept = frozenset() if asked is None else frozenset(key for _, key in _files(asked))
        for place in [p for p in self._values if p[0] == app and p[1] not in kept]:
            self._store(*place, None)
            del self._values[place]
        for place in [p for p in self._problems if p[0] == app and p[1] not in kept]:
            del self._problems[place]

    def known(self) -> frozenset[str]:
        """The apps of which values are kept."""
        return frozenset(app for app, _ in self._values)

    def versions(self) -> Iterator[str]:
        """Every id that is in force."""
        for values in self._values.values():
            yield from values.values()

    def _stored(self) -> dict[tuple[str, str], dict[str, str]]:
        """For each app and file the ids of the values it last gave, by variable."""
        rows = self._database.execute("SELECT app, path, values_of FROM env_file").fetchall()
        return {(app, path): json.loads(values) for app, path, values in rows}

    def _store(self, app: str, path: str, values: Mapping[str, str] | None) -> None:
        """Remember what a file gave; None forgets it."""
        if values is None:
            self._database.execute("DELETE FROM env_file WHERE app = ? AND path = ?", (app, path))
        else:
            row = (app, path, json.dumps(dict(values)))
            self._database.execute("INSERT OR REPLACE INTO env_file VALUES (?, ?, ?)", row)


def _files(app: App) -> Iterator[tuple[str | None, str]]:
    """The variable a file is the value of, None for a file of many; and the key it is kept by. Later ones count."""
    for path in app.env_lists:
        yield None, path
    for name, path in app.env_files.items():
        yield name, f"{name}={path}"


def _path(key: str) -> str:
    return key if key.startswith("/") else key.partition("=")[2]


def _read(name: str | None, file: Path) -> Mapping[str, str]:
    found = {name: value_of(file)} if name is not None else pairs_of(file, content_of(file))
    for variable, value in found.items():
        if variable.startswith(_TAKEN):
            raise Unusable(f"{file} sets {variable}, which is set by the daemon")
        if len(f"{variable}={value}".encode()) > _LONGEST_VARIABLE:
            raise Unusable(f"{file}: {variable} is longer than the 128 KiB that Linux allows for one variable")
    return found
