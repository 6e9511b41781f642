"""The secrets that tasks of schedules were given are known as long as a task may still print them."""

from contextlib import closing
from pathlib import Path

from reconciler.state.records import Records
from reconciler.state.schema import open_database
from reconciler.tasks.variables import GivenSecrets


def test_secrets_that_a_task_was_given_are_known_to_the_next_daemon(tmp_path: Path) -> None:
    with closing(open_database(tmp_path / "db")) as database:
        records = Records(database)
        given = GivenSecrets(records)
        given.give("shop", ["id-1", "id-2"])
        given.give("shop", ["id-2", "id-3"])
        given.give("blog", ["id-4"])
        again = GivenSecrets(records)
        assert again.of("shop") == {"id-1", "id-2", "id-3"}
        assert again.of() == {"id-1", "id-2", "id-3", "id-4"}
        again.forget("shop")
        assert GivenSecrets(records).of() == {"id-4"}


def test_of_all_that_tasks_were_given_the_newest_are_known_and_never_less_than_one_task_has(tmp_path: Path) -> None:
    with closing(open_database(tmp_path / "db")) as database:
        given = GivenSecrets(Records(database))
        for number in range(100):
            given.give("shop", [f"id-{number}"])
        assert given.of("shop") == {f"id-{number}" for number in range(68, 100)}
        many = {f"new-{number}" for number in range(50)}
        given.give("shop", sorted(many))
        assert given.of("shop") == many


def test_what_another_version_wrote_is_passed_over(tmp_path: Path) -> None:
    with closing(open_database(tmp_path / "db")) as database:
        records = Records(database)
        records.set_history("shop", "secrets of tasks", "7")
        assert GivenSecrets(records).of() == frozenset()
