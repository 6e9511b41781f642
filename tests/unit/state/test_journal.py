"""Events have stable kinds, listed alike in code, schema and documentation, and are found again."""

import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path

from jsonschema import Draft202012Validator

from reconciler.documents.schemas import schema
from reconciler.planning.subject import Subject
from reconciler.state.journal import KINDS, Journal, as_record
from reconciler.state.schema import open_database

DOCS = Path(__file__).parents[3] / "docs"


def test_code_schema_and_documentation_list_the_same_kinds() -> None:
    listed = [kind["const"] for kind in schema("event")["properties"]["kind"]["oneOf"]]
    assert tuple(listed) == KINDS
    documented = (DOCS / "reference" / "events.md").read_text().split("\n## Fields\n")[0]
    assert tuple(re.findall(r"^\| `(\w+)` \|", documented, re.MULTILINE)) == KINDS


def test_an_event_is_as_its_schema_says_and_one_line_whatever_an_app_wrote(tmp_path: Path) -> None:
    with closing(open_database(tmp_path / "db")) as database:
        journal, seen = Journal(database), []
        journal.followers.append(lambda event: seen.append(as_record(event)))
        journal.write(Subject("app", "blog"), "failed", "<b>\n\x1b[31m\u202e", "again in 4 s")
    checker = Draft202012Validator(schema("event"))
    assert not list(checker.iter_errors(seen[0]))
    assert list(checker.iter_errors({**seen[0], "kind": "exploded"}))
    assert len(json.dumps(seen[0], ensure_ascii=False).splitlines()) == 1


def test_events_are_found_by_app_kind_and_age_and_the_oldest_are_forgotten(tmp_path: Path) -> None:
    with closing(open_database(tmp_path / "db")) as database:
        journal = Journal(database, keep=3000)
        for _ in range(250):
            journal.write(Subject("app", "blog"), "exited", "x")
            journal.write(Subject("app", "shop"), "ready", "y")
        assert len(journal.newest(None, 10_000)) == 500
        assert {event.kind for event in journal.newest(None, 10_000, kinds=("exited", "failed"))} == {"exited"}
        assert len(journal.newest(Subject("app", "shop"), 10_000, kinds=("ready",))) == 250
        assert not journal.newest(Subject("app", "shop"), 10, kinds=("die",))
        assert not journal.newest(None, 10, since=journal.newest(None, 1)[0].at + 1)
        assert isinstance(database, sqlite3.Connection)


def test_the_oldest_events_are_forgotten_and_one_app_displaces_none_of_the_others(tmp_path: Path) -> None:
    with closing(open_database(tmp_path / "db")) as database:
        journal = Journal(database, keep=300)
        for number in range(20):
            journal.write(Subject("app", f"app-{number}"), "ready", "y")
        for number in range(980):
            journal.write(Subject("app", "crashes"), "exited", str(number))
        assert len(journal.newest(Subject("app", "app-*"), 10_000)) == 20
        assert [event.text for event in journal.newest(Subject("app", "crashes"), 10_000)] == [
            str(number) for number in range(950, 980)
        ]
        for number in range(500):
            journal.write(Subject("app", f"app-{number}"), "ready", "y")
        assert len(journal.newest(None, 10_000)) == 300
