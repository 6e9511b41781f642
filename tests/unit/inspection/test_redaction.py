"""What the processes of an app are given is hidden, as what the app itself is given."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

from reconciler.inspection.redaction import Redactor
from reconciler.planning.processes.process import Process
from reconciler.planning.schedules.schedule import Schedule
from reconciler.planning.subject import Subject
from tests.world import an_app


def test_what_a_process_took_from_a_file_is_hidden_also_when_the_file_holds_another_value_by_now() -> None:
    stored = {"id-1": "swordfish-7", "id-2": "marlin-8"}
    records = cast("Any", SimpleNamespace(services=tuple, vault=SimpleNamespace(get=stored.__getitem__)))
    files = cast("Any", SimpleNamespace(given=lambda _: (("", "id-2"),)))
    given = {"id-1"}
    redactor = Redactor(
        records, files, desired=dict, environ=dict, parts=lambda app: frozenset(given if app == "shop" else ())
    )
    assert redactor.redacted(Subject("app", "shop"), "swordfish-7 marlin-8") == "••• •••"


def test_the_variables_of_a_process_are_hidden_in_what_is_told_of_its_app() -> None:
    worker = Process(name="worker", env={"QUEUE_PASSWORD": "swordfish-7", "GREETING": "hello"})
    nothing = cast("Any", SimpleNamespace(services=tuple, given=lambda _: ()))
    apps = {"shop": replace(an_app(), name="shop", processes=(worker,))}
    redactor = Redactor(nothing, nothing, desired=lambda: apps, environ=dict)
    assert "swordfish" not in redactor.redacted(Subject("app", "shop"), "hello, swordfish-7")
    assert redactor.redacted(Subject("app", "shop"), "hello") == "hello"


def test_the_variables_of_a_schedule_are_hidden_in_what_is_told_of_its_app() -> None:
    sync = Schedule(app="shop", name="sync", command=("true",), every_s=60.0, env={"API_TOKEN": "swordfish-7"})
    nothing = cast("Any", SimpleNamespace(services=tuple, given=lambda _: ()))
    apps = {"shop": replace(an_app(), name="shop", schedules=(sync,))}
    redactor = Redactor(nothing, nothing, desired=lambda: apps, environ=dict)
    assert "swordfish" not in redactor.redacted(Subject("app", "shop"), "it said swordfish-7")
