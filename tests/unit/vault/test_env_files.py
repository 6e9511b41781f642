"""Files of variables that strangers write: how much of them an app is given."""

import asyncio
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from reconciler.planning.processes.process import Process
from reconciler.planning.schedules.schedule import Schedule
from reconciler.state.schema import open_database
from reconciler.vault.env_files import EnvFiles
from reconciler.vault.secret_reader import SecretReader
from reconciler.vault.vault import Vault
from tests.world import an_app


def test_the_files_of_an_app_set_no_more_variables_than_there_is_room_for(tmp_path: Path) -> None:
    first, second = tmp_path / "first.env", tmp_path / "second.env"
    first.write_text("".join(f"A{number}=x\n" for number in range(60_000)))
    second.write_text("".join(f"B{number}=x\n" for number in range(1500)))
    app = replace(an_app(), env_lists=(str(first), str(second)))
    with closing(open_database(tmp_path / "state.db")) as database:
        files = EnvFiles(database, Vault(database, tmp_path / "key"))
        assert asyncio.run(files.refresh(app, SecretReader()))
        values, missing, _ = files.of(app)
        assert missing == (f"{first}: the files of an app set at most 2000 variables",)
        assert len(values) == 1500
        assert database.execute("SELECT count(*) FROM vault").fetchone()[0] < 10

        first.write_text("".join(f"A{number}=x\n" for number in range(500)))
        asyncio.run(files.refresh(app, SecretReader()))
        values, missing, stale = files.of(app)
        assert (len(values), missing, stale) == (2000, (), ())

        first.write_text("".join(f"A{number}=x\n" for number in range(501)))
        asyncio.run(files.refresh(app, SecretReader()))
        values, missing, stale = files.of(app)
        assert len(values) == 2000
        assert stale == (f"{first}: the files of an app set at most 2000 variables",)


def test_the_files_of_a_process_are_its_own(tmp_path: Path) -> None:
    shared, own = tmp_path / "shared", tmp_path / "own"
    shared.write_text("of the app\n")
    own.write_text("of the worker\n")
    worker, beat = Process(name="worker", env_files={"KEY": str(own)}), Process(name="beat")
    app = replace(an_app(), env_files={"KEY": str(shared)}, processes=(beat, worker))
    with closing(open_database(tmp_path / "state.db")) as database:
        vault = Vault(database, tmp_path / "key")
        files = EnvFiles(database, vault)
        assert files.of_part(app.name, worker)[1] == (f"{own}: not read yet",)
        assert files.paths(app) == {str(shared), str(own)}
        assert asyncio.run(files.refresh(app, SecretReader()))
        again = EnvFiles(database, vault)
        assert {name: vault.get(kept) for name, kept in again.of(app)[0].items()} == {"KEY": "of the app"}
        assert {name: vault.get(kept) for name, kept in again.of_part(app.name, worker)[0].items()} == {
            "KEY": "of the worker"
        }
        assert again.of_part(app.name, beat) == ({}, (), ())
        own.unlink()
        asyncio.run(again.refresh(app, SecretReader()))
        assert (len(again.of_part(app.name, worker)[2]), again.of(app)[2]) == (1, ())
        again.forget(app.name, replace(app, processes=(beat,)))
        assert again.known_paths(app.name) == {str(shared)}


def test_the_files_of_a_schedule_are_its_own_also_beside_a_process_of_its_name(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text("of the process\n")
    second.write_text("of the schedule\n")
    process = Process(name="sync", env_files={"KEY": str(first)})
    schedule = Schedule(app="shop", name="sync", command=("true",), every_s=60.0, env_files={"KEY": str(second)})
    app = replace(an_app(), processes=(process,), schedules=(schedule,))
    with closing(open_database(tmp_path / "state.db")) as database:
        vault = Vault(database, tmp_path / "key")
        files = EnvFiles(database, vault)
        assert files.of_part(app.name, schedule)[1] == (f"{second}: not read yet",)
        assert asyncio.run(files.refresh(app, SecretReader()))
        values = [vault.get(files.of_part(app.name, part)[0]["KEY"]) for part in (process, schedule)]
        assert values == ["of the process", "of the schedule"]
        files.forget(app.name, replace(app, schedules=()))
        assert files.known_paths(app.name) == {str(first)}


def test_the_variable_of_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    app = replace(an_app(), env_files={"STRIPE_KEY": str(tmp_path / "nope")})
    with closing(open_database(tmp_path / "state.db")) as database:
        files = EnvFiles(database, Vault(database, tmp_path / "key"))
        asyncio.run(files.refresh(app, SecretReader()))
        assert files.of(app)[1] == (
            f"cannot read {tmp_path / 'nope'}: No such file or directory (for the variable STRIPE_KEY)",
        )
