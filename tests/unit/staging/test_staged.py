"""The record of a finished build, of this version and of the ones before."""

import json
from dataclasses import replace
from pathlib import Path

from reconciler.staging import staged
from reconciler.staging.staged import RECORD, Staged


def a_build(directory: Path) -> Staged:
    return Staged(
        directory=str(directory),
        code=str(directory / "code"),
        environment="/e/1",
        python="/e/1/bin/python",
        python_version="3.12.1",
        gunicorn_version="23.0.0",
        entrypoint="wsgi:application",
        interface="wsgi",
        worker_class="sync",
        pythonpath=("src",),
        because="reused, its requirements did not change",
        reused=True,
    )


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    build = a_build(tmp_path)
    staged.write(build, tmp_path, "boot")
    assert staged.read(tmp_path, "boot") == build


def test_a_record_from_before_reuse_was_recorded_is_read(tmp_path: Path) -> None:
    build = a_build(tmp_path)
    staged.write(build, tmp_path, "boot")
    record = json.loads((tmp_path / RECORD).read_text())
    del record["staged"]["reused"]
    (tmp_path / RECORD).write_text(json.dumps(record))
    assert staged.read(tmp_path, "boot") == replace(build, reused=False)
