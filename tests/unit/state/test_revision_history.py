"""The history of an app is written down when it changes, and only then."""

from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from reconciler.state import revision_history
from reconciler.state.records import Records
from reconciler.state.revision_history import RevisionHistory
from reconciler.state.schema import open_database
from tests.world import an_app


def test_a_revision_that_starts_again_is_not_written_out_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = list[object]()

    def counted(value: Any) -> dict[str, Any]:
        written.append(value)
        return asdict(value)

    monkeypatch.setattr(revision_history, "asdict", counted)
    with closing(open_database(tmp_path / "db")) as database:
        history, revision = RevisionHistory(Records(database), "boot"), an_app().revision("c1")
        history.start("blog", revision, set())
        once = len(written)
        history.start("blog", revision, {revision.id})
        assert (once, len(written)) == (1, 1)
        assert RevisionHistory(Records(database), "boot").of("blog").started == (revision,)
