"""What the row of an app says in `status`."""

import pytest

from reconciler.cli.status import message_of
from reconciler.inspection.process_rows import ProcessRow
from reconciler.inspection.status import AppRow

PROCESSES = (
    ProcessRow(name="beat", state="running", desired=1, running=1),
    ProcessRow(name="worker", state="running", desired=2, running=2),
)


@pytest.mark.parametrize(
    ("state", "message", "said"),
    [
        ("running", "", "beat · worker x 2"),
        ("running", "next cleanup in 3h", "beat · worker x 2 · next cleanup in 3h"),
        ("failing", "no entry point", "no entry point"),
        ("staging", "", "beat · worker x 2"),
    ],
)
def test_the_processes_of_an_app_are_told_beside_what_else_there_is_to_say(state: str, message: str, said: str) -> None:
    assert message_of(AppRow(name="shop", state=state, message=message, processes=PROCESSES)) == said


def test_an_app_without_processes_has_its_message_alone() -> None:
    assert message_of(AppRow(name="shop", state="running", message="note")) == "note"
    assert message_of(AppRow(name="shop", state="running")) == ""
