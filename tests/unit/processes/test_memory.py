"""What is known of processes outlives the daemon, and what counts by this boot's clock does not outlive the boot."""

from contextlib import closing
from pathlib import Path

from reconciler.planning.processes.observed import Crash
from reconciler.processes.memory import ProcessMemory
from reconciler.state.records import Records
from reconciler.state.schema import open_database


def test_a_restart_that_was_asked_for_is_carried_out_by_the_next_daemon(tmp_path: Path) -> None:
    crash = Crash(count=3, last_at=5.0, reason="exited with 1", version="v1")
    with closing(open_database(tmp_path / "db")) as database:
        records = Records(database)
        memory = ProcessMemory(records, "boot-1")
        assert memory.restart_before("shop/worker") == float("-inf")
        memory.restart("shop/worker", 7.5)
        memory.crashed("shop/worker", 1, crash)
        again = ProcessMemory(records, "boot-1")
        assert (again.restart_before("shop/worker"), again.crashes("shop/worker")) == (7.5, {1: crash})
        rebooted = ProcessMemory(records, "boot-2")
        assert (rebooted.restart_before("shop/worker"), rebooted.crashes("shop/worker")) == (float("-inf"), {})


def test_what_was_written_before_restarts_were_is_read(tmp_path: Path) -> None:
    with closing(open_database(tmp_path / "db")) as database:
        records = Records(database)
        text = '{"boot": "b", "processes": {"worker": {"crashes": {}, "stopped": "abc", "status": null}}}'
        records.set_history("shop", "processes", text)
        assert ProcessMemory(records, "b").stopped("shop/worker") == "abc"


def test_secrets_that_a_process_was_given_are_known_while_it_may_still_print_them(tmp_path: Path) -> None:
    with closing(open_database(tmp_path / "db")) as database:
        records = Records(database)
        memory = ProcessMemory(records, "boot-1")
        memory.give("shop/worker", ["id-1", "id-2"])
        memory.give("shop/worker", ["id-2", "id-3"])
        memory.give("blog/worker", ["id-4"])
        again = ProcessMemory(records, "boot-1")
        assert again.given("shop") == {"id-1", "id-2", "id-3"}
        assert again.given() == {"id-1", "id-2", "id-3", "id-4"}
        for number in range(100):
            again.give("shop/worker", [f"next-{number}"])
        assert len(again.given("shop")) < 50
        assert "next-99" in again.given("shop")


def test_the_crashes_of_a_process_that_was_removed_are_counted_no_more(tmp_path: Path) -> None:
    with closing(open_database(tmp_path / "db")) as database:
        memory = ProcessMemory(Records(database), "boot")
        memory.count_crash("shop/worker")
        memory.count_crash("shop/worker")
        assert memory.crash_count("shop/worker") == 2
        memory.forget("shop/worker")
        assert memory.crash_count("shop/worker") == 0
