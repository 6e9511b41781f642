"""An instance that answers nothing but errors is noted, once it is certain enough; one good answer ends that."""

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from reconciler.inspection.answers import note_on_answers
from reconciler.planning.reason import Reason
from reconciler.serving.gate_figures import Figures


def noted(place: Path, classes: Sequence[int], *, django: bool = False) -> tuple[str, str] | None:
    """The note on an instance whose only worker answered with these classes of status."""
    passed, code = place / "passed", place / "code"
    for directory in (passed, code):
        directory.mkdir(exist_ok=True)
    if django:
        (code / "manage.py").write_text("")
    (passed / str(os.getpid())).touch()  # as its worker did when it passed its gate
    figures: Any = Figures(str(passed), time.monotonic)
    for status in classes:
        figures.end(figures.begin(), status)
    note = note_on_answers(passed, code)
    return None if note is None else (note.reason, note.text)


@pytest.mark.parametrize("classes", [(), (4, 4), (4, 4, 2), (3, 4, 4, 4), (5, 4, 4, 5), (2, 5, 5, 5)])
def test_nothing_is_noted_of_few_answers_or_of_others_than_errors_of_one_class(
    tmp_path: Path, classes: Sequence[int]
) -> None:
    assert noted(tmp_path, classes) is None


def test_client_errors_alone_are_noted_and_of_django_what_usually_causes_them(tmp_path: Path) -> None:
    text = "each of its 3 answers so far was an error of the client (4xx)"
    assert noted(tmp_path, (4, 4, 4)) == (Reason.ONLY_CLIENT_ERRORS, text)
    found = noted(tmp_path, (4,), django=True)
    assert found is not None
    assert found[1].startswith(
        "each of its 4 answers so far was an error of the client (4xx); Django answers 400 while"
    )
    assert "ALLOWED_HOSTS" in found[1]
    assert noted(tmp_path, (2,)) is None


def test_server_errors_alone_are_noted(tmp_path: Path) -> None:
    text = "each of its 3 answers so far was an error of the app (5xx): its log says which"
    assert noted(tmp_path, (5, 5, 5)) == (Reason.ONLY_SERVER_ERRORS, text)


def test_an_instance_without_figures_is_not_noted(tmp_path: Path) -> None:
    assert note_on_answers(tmp_path / "gone", None) is None
