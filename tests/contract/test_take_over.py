"""What an earlier version left under its own revision ids is found under today's, and nothing is started for that."""

import json
from dataclasses import asdict

from reconciler.planning.apps.app import App
from reconciler.planning.apps.observed import Failure, Override
from reconciler.planning.apps.plan import plan
from reconciler.planning.apps.revision import Revision, Server
from reconciler.services.records import ServiceRecords
from reconciler.state.schema import open_database
from reconciler.vault.vault import Vault
from tests.contract.machine import Machine, a_life, on_the_loop
from tests.support.site import Site

_WORKERS = 2


def as_75b705b_wrote(revision: Revision, app: App) -> dict[str, object]:
    """A revision as that commit stored it: its server says how many workers."""
    return {**asdict(revision), "server": asdict(app.server)}


async def an_earlier_daemon(site: Site) -> tuple[App, Revision, int]:
    """One that started an app with two workers, and wrote of it as commit 75b705b did."""
    with a_life(site) as machine:
        app = machine.app(idle_after_s=3600.0, server=Server(workers=_WORKERS, stop_timeout_s=10, counts=True))
        pid = (await machine.started(app)).pid
        revision = app.revision(machine.content())
        former = revision.legacy_id(_WORKERS)
        failed = {"revision": former, "kind": "crashed", "count": 1, "last_at": 1.0, "reason": "it crashed"}
        stored = as_75b705b_wrote(revision, app)
        rows = {
            "troubles": {"boot": machine.boot, "troubles": [failed]},
            "proven": [stored],
            "pin": {"kind": "rolled back", "about": former, "revision": stored},
            "rest": former,
        }
        for what, value in rows.items():
            machine.records.set_history(app.name, what, json.dumps(value))
        machine.database.execute("UPDATE instance SET revision = ?, directory = NULL", (former,))
        machine.database.execute("DELETE FROM fact WHERE name = 'revision-ids'")
        (site.paths.revisions("blog") / revision.id).rename(site.paths.revisions("blog") / former)
        return app, revision, pid


def starts(machine: Machine, app: App) -> list[str]:
    """What would be done to the instances."""
    planned = plan(app, machine.seen(), machine.host.now())
    return [str(a) for a in planned.actions if type(a).__name__ in {"Start", "Stop", "Scale", "Stage"}]


@on_the_loop
async def test_an_instance_and_all_that_is_remembered_are_renamed_before_anything_is_planned(site: Site) -> None:
    app, revision, pid = await an_earlier_daemon(site)
    former = revision.legacy_id(_WORKERS)
    assert former != revision.id
    with a_life(site) as machine:
        assert machine.only().revision == former
        machine.follow(app)
        assert (machine.only().pid, machine.only().revision) == (pid, revision.id)
        seen = machine.seen()
        assert seen.failures == (
            Failure(revision=revision.id, kind="crashed", count=1, last_at=1.0, reason="it crashed"),
        )
        assert seen.known_good == (revision,)
        assert seen.override == Override(kind="rolled back", holds_for=revision.id, revision=revision)
        assert seen.sleep_state.gate_passed == revision.id
        machine.host._history.set_override("blog", None)
        assert starts(machine, app) == []
        assert (site.paths.revisions("blog") / former).is_dir(), "its gunicorn was started from there"
    with a_life(site) as machine:
        machine.follow(app)
        assert machine.only().revision == revision.id
        assert machine.seen().failures[0].revision == revision.id
        assert (site.paths.revisions("blog") / former).is_dir()


@on_the_loop
async def test_what_was_taken_over_once_is_not_looked_at_again(site: Site) -> None:
    app, _, _ = await an_earlier_daemon(site)
    with a_life(site) as machine:
        machine.follow(app)
    with a_life(site) as machine:
        machine.database.execute("UPDATE instance SET revision = 'aaaabbbbcccc'")
    with a_life(site) as machine:
        machine.follow(app)
        assert machine.only().revision == "aaaabbbbcccc"


def test_the_use_of_credentials_is_renamed_with_its_revision(site: Site) -> None:
    database = open_database(site.paths.database)
    records = ServiceRecords(database, Vault(database, site.paths.state / "key"))
    records.use("blog", "former", frozenset(("g1", "g2")))
    records.use("shop", "former", frozenset(("g3",)))
    records.rename_use("blog", "former", "current")
    records.rename_use("blog", "unknown", "current")
    assert records.uses("blog") == {"current": frozenset(("g1", "g2"))}
    again = ServiceRecords(database, Vault(database, site.paths.state / "key"))
    assert again.uses("blog") == {"current": frozenset(("g1", "g2"))}
    assert again.uses("shop") == {"former": frozenset(("g3",))}
    database.close()
