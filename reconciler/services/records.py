"""Typed access to the records of services, their grants, and which revisions use them.

Ids, users and passwords are on the disk before any server receives them, so that an interrupted action is repeated
under the same names. Secret texts are encrypted by the vault.
"""

import json
import secrets
from collections.abc import Mapping
from dataclasses import field, replace
from typing import Any

from reconciler.linux.dataclass import dataclass
from reconciler.planning.fingerprint import Json, fingerprint
from reconciler.planning.services.service import Service
from reconciler.state.database import Database
from reconciler.state.table import Statement, Table
from reconciler.vault.secret import Secret
from reconciler.vault.vault import Vault, VaultLocked, packed

# Columns with encrypted text, beside the vault's own table.
BOXES = (("service", "id", "asked"), ("service_grant", "id", "password"), ("service_grant", "id", "parameters"))


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantRecord:
    """A grant. `credentials` is the id of what binding returned, None before that; numbers grow with time."""

    id: str
    number: int
    service: str
    app: str
    user: str
    parameters: str
    credentials: str | None = None
    due: str | None = None
    retiring: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceRecord:
    """A service. `left_at` is monotonic seconds of `boot`."""

    id: str
    name: str
    type: str
    server: str | None
    plan: str
    retain: bool
    grace_s: float
    made: str = ""
    boot: str | None = None
    left_at: float | None = None
    dumped: bool = False
    grants: tuple[GrantRecord, ...] = ()


_SERVICES = Table("service", ServiceRecord, without=("grants",))
_GRANTS = Table("service_grant", GrantRecord, renamed={"parameters": "parameters_id"})


@dataclass(slots=True, kw_only=True)
class _Cache:
    services: dict[str, ServiceRecord] = field(default_factory=dict)
    uses: dict[str, dict[str, frozenset[str]]] = field(default_factory=dict)


class ServiceRecords:
    """Reads from memory and writes to the database. Raises sqlite3.Error or VaultLocked."""

    def __init__(self, database: Database, vault: Vault) -> None:
        self.database = self._database = database
        self.vault = vault
        self._cache = _Cache()
        self._load()

    # Services

    def services(self) -> tuple[ServiceRecord, ...]:
        """Return every service on record."""
        return tuple(self._cache.services.values())

    def names(self) -> frozenset[str]:
        """Return the names of the services on record."""
        return frozenset(record.name for record in self.services())

    def of(self, name: str) -> tuple[ServiceRecord, ...]:
        """Return the services of a name; there are several after its type or server changed."""
        return tuple(record for record in self._cache.services.values() if record.name == name)

    def made(self, name: str) -> ServiceRecord | None:
        """Return the service of a name that was provisioned: the desired one rather than one that is left over."""
        return min((each for each in self.of(name) if each.made), key=lambda one: one.left_at is not None, default=None)

    def service(self, service: str) -> ServiceRecord:
        """Return one service. Raises KeyError."""
        return self._cache.services[service]

    def register(self, service: Service, server: str | None, known: str | None, grace_s: float) -> ServiceRecord:
        """Record a service under `known`, the id it had before the database was lost, or under a new id."""
        record = ServiceRecord(
            id=known or secrets.token_hex(6),
            name=service.name,
            type=service.type,
            server=server,
            plan=service.plan,
            retain=service.retain,
            grace_s=grace_s,
        )
        self._write(record, _SERVICES.put(record, asked=self.vault.sealed(packed(dict(service.asked)))))
        return record

    def asked(self, service: str) -> dict[str, Json]:
        """Return the fields of its type that it was last provisioned with."""
        row = self._database.execute("SELECT asked FROM service WHERE id = ?", (service,)).fetchone()
        found: dict[str, Json] = json.loads(self.vault.unsealed(row[0])) if row else {}
        return found

    def ask(self, service: str, plan: str, asked: Mapping[str, Json]) -> ServiceRecord:
        """Record what the service is about to be provisioned with."""
        record = replace(self.service(service), plan=plan)
        self._write(record, _SERVICES.change(record, "id", asked=self.vault.sealed(packed(dict(asked)))))
        return record

    def note(self, service: str, **different: Any) -> None:
        """Change fields of a service's record."""
        record = replace(self.service(service), **different)
        self._write(record, _SERVICES.change(record, "id"))

    def drop(self, service: str) -> None:
        """Delete a service and its grants."""
        with self._database.lasting():
            self._database.execute("DELETE FROM service_grant WHERE service = ?", (service,))
            self._database.execute("DELETE FROM service WHERE id = ?", (service,))
        self._cache.services.pop(service, None)

    # Grants

    def grant(self, grant: str) -> GrantRecord:
        """Return one grant. Raises KeyError."""
        for record in self._cache.services.values():
            for found in record.grants:
                if found.id == grant:
                    return found
        raise KeyError(grant)

    def create_grant(self, service: str, app: str, parameters: Mapping[str, Json]) -> GrantRecord:
        """Generate a user and a password for an app; both are on the disk when this returns."""
        number = 1 + max((g.number for s in self.services() for g in s.grants), default=0)
        grant = secrets.token_hex(6)
        readable = "".join(c if c.isalnum() else "_" for c in app)[:16].strip("_")
        record = GrantRecord(
            id=grant,
            number=number,
            service=service,
            app=app,
            user=f"u_{readable}_{grant}",
            parameters=parameters_id(parameters),
        )
        # Letters and digits only: it appears in URLs, files and shells.
        password = self.vault.sealed(secrets.token_hex(24))
        boxed = self.vault.sealed(packed(dict(parameters))) if parameters else None
        with self._database.lasting():
            self._database.execute(*_GRANTS.put(record, password=password, parameters=boxed))
        self._cache_grant(record)
        return record

    def password(self, grant: str) -> Secret:
        """Return the password of a grant. Raises VaultLocked if there is none."""
        row = self._database.execute("SELECT password FROM service_grant WHERE id = ?", (grant,)).fetchone()
        if row is None:
            raise VaultLocked("the grant is no longer on record")
        return Secret(self.vault.unsealed(row[0]))

    def parameters(self, grant: str) -> dict[str, Json]:
        """Return the parameters of a grant."""
        row = self._database.execute("SELECT parameters FROM service_grant WHERE id = ?", (grant,)).fetchone()
        found: dict[str, Json] = {} if row is None or row[0] is None else json.loads(self.vault.unsealed(row[0]))
        return found

    def bound(self, grant: str, credentials: Mapping[str, Json]) -> str:
        """Store the credentials that binding returned; return their id, the same for the same credentials."""
        with self._database.lasting():
            stored = self.vault.put(packed({"grant": grant, "credentials": dict(credentials)}))
            self._database.execute("UPDATE service_grant SET credentials = ?, due = NULL WHERE id = ?", (stored, grant))
        self._cache_grant(replace(self.grant(grant), credentials=stored, due=None))
        return stored

    def due(self, grant: str, why: str) -> None:
        """Mark a grant to be bound again."""
        self._database.execute("UPDATE service_grant SET due = ? WHERE id = ?", (why, grant))
        self._cache_grant(replace(self.grant(grant), due=why))

    def retire(self, grant: str, why: str) -> None:
        """Mark a grant to be replaced by another."""
        with self._database.lasting():
            self._database.execute("UPDATE service_grant SET retiring = ? WHERE id = ?", (why, grant))
        self._cache_grant(replace(self.grant(grant), retiring=why))

    def revoke(self, grant: str) -> None:
        """Delete a grant whose credentials were revoked."""
        record = self.grant(grant)
        with self._database.lasting():
            self._database.execute("DELETE FROM service_grant WHERE id = ?", (grant,))
        service = self.service(record.service)
        grants = tuple(g for g in service.grants if g.id != grant)
        self._cache.services[service.id] = replace(service, grants=grants)

    def credentials(self, stored: str) -> dict[str, Json]:
        """Return credentials by the id that `bound` returned."""
        found: dict[str, Json] = json.loads(self.vault.get(stored))["credentials"]
        return found

    # Uses

    def use(self, app: str, revision: str, grants: frozenset[str]) -> None:
        """Record that an instance of a revision is about to use these grants."""
        if self._cache.uses.get(app, {}).get(revision) == grants:
            return
        with self._database.lasting():
            self._database.execute("DELETE FROM service_use WHERE app = ? AND revision = ?", (app, revision))
            rows = [(app, revision, grant) for grant in sorted(grants)]
            self._database.executemany("INSERT INTO service_use VALUES (?, ?, ?)", rows)
        self._cache.uses.setdefault(app, {})[revision] = grants

    def rename_use(self, app: str, former: str, current: str) -> None:
        """Record what instances of a revision work with under the revision's current id."""
        grants = self._cache.uses.get(app, {}).pop(former, None)
        if grants is not None:
            self._database.execute("DELETE FROM service_use WHERE app = ? AND revision = ?", (app, former))
            self.use(app, current, grants | self._cache.uses[app].get(current, frozenset()))

    def uses(self, app: str) -> Mapping[str, frozenset[str]]:
        """Return the grants that instances of each revision of an app use."""
        return self._cache.uses.get(app, {})

    def unused(self, app: str, alive: frozenset[str]) -> None:
        """Delete the uses of revisions of an app without an instance."""
        for revision in [r for r in self._cache.uses.get(app, {}) if r not in alive]:
            self._database.execute("DELETE FROM service_use WHERE app = ? AND revision = ?", (app, revision))
            del self._cache.uses[app][revision]

    # Writing and loading

    def _cache_grant(self, grant: GrantRecord) -> None:
        service = self.service(grant.service)
        others = [g for g in service.grants if g.id != grant.id]
        grants = tuple(sorted((*others, grant), key=lambda g: g.number))
        self._cache.services[service.id] = replace(service, grants=grants)

    def _write(self, record: ServiceRecord, statement: Statement) -> None:
        with self._database.lasting():
            self._database.execute(*statement)
        self._cache.services[record.id] = record

    def _load(self) -> None:
        self._cache.services = {record.id: record for record in _SERVICES.rows(self._database, "ORDER BY id")}
        for grant in _GRANTS.rows(self._database, "ORDER BY number"):
            if grant.service in self._cache.services:
                self._cache_grant(grant)
        for app, revision, grant_id in self._database.execute("SELECT app, revision, service_grant FROM service_use"):
            uses = self._cache.uses.setdefault(app, {})
            uses[revision] = uses.get(revision, frozenset()) | {grant_id}


def parameters_id(parameters: Mapping[str, Json]) -> str:
    """Return twelve hexadecimal digits that identify parameters, empty if there are none."""
    return fingerprint(dict(parameters)) if parameters else ""
