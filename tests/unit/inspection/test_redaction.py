"""What the processes of an app are given is hidden, as what the app itself is given."""

import weakref
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

from reconciler.convergence.world import Report
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


def test_of_apps_that_were_removed_only_the_last_few_are_remembered() -> None:
    nothing = cast("Any", SimpleNamespace(services=tuple, given=lambda _: ()))
    redactor = Redactor(nothing, nothing, desired=dict, environ=dict)
    texts = []
    for number in range(100):
        app = replace(an_app(), name=f"app-{number}", env={"API_TOKEN": f"swordfish-{number}"})
        redactor.give(app.revision("c"))
        subject = Subject("app", app.name)
        assert "swordfish" not in redactor.redacted(subject, f"it said swordfish-{number}")
        texts.append(weakref.ref(redactor.texts(subject)))
        redactor.on_report(subject, None)
        assert "swordfish" not in redactor.redacted(subject, f"its last words: swordfish-{number}")
        texts.append(weakref.ref(redactor.texts(subject)))
    assert len([text for text in texts if text() is not None]) < 20
    assert len(redactor._given) < 20


def test_what_an_app_received_that_is_back_is_hidden_however_many_others_are_removed() -> None:
    nothing = cast("Any", SimpleNamespace(services=tuple, given=lambda _: ()))
    redactor = Redactor(nothing, nothing, desired=dict, environ=dict)
    shop, token = Subject("app", "shop"), {"API_TOKEN": "swordfish-7"}
    redactor.give(replace(an_app(), name="shop", env=token).revision("c"))
    redactor.on_report(shop, None)
    redactor.on_report(shop, Report(state="staging"))
    for number in range(100):
        redactor.on_report(Subject("app", f"app-{number}"), None)
    assert "swordfish" not in redactor.redacted(shop, "it said swordfish-7")
