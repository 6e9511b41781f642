"""What the processes of an app are given is hidden, as what the app itself is given."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

from reconciler.inspection.redaction import Redactor
from reconciler.planning.processes.process import Process
from reconciler.planning.subject import Subject
from tests.world import an_app


def test_the_variables_of_a_process_are_hidden_in_what_is_told_of_its_app() -> None:
    worker = Process(name="worker", env={"QUEUE_PASSWORD": "swordfish-7", "GREETING": "hello"})
    nothing = cast("Any", SimpleNamespace(services=tuple, given=lambda _: ()))
    apps = {"shop": replace(an_app(), name="shop", processes=(worker,))}
    redactor = Redactor(nothing, nothing, desired=lambda: apps, environ=dict)
    assert "swordfish" not in redactor.redacted(Subject("app", "shop"), "hello, swordfish-7")
    assert redactor.redacted(Subject("app", "shop"), "hello") == "hello"
