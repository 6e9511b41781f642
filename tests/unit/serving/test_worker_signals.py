"""Signals to a master that says late, or in two steps, how many workers it keeps: none is sent too often."""

import asyncio
import signal
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

from reconciler.linux.processes import Process
from reconciler.serving import worker_signals
from reconciler.serving.live_instance import LiveInstance
from reconciler.state.records import NO_ADDRESS, InstanceRecord

_RECORD = InstanceRecord(
    id="a" * 12,
    app="blog",
    revision="b" * 12,
    build="c" * 12,
    address=NO_ADDRESS,
    boot="1",
    started_at=1.0,
    stop_timeout_s=1.0,
    workers=4,
)


@dataclass(slots=True)
class Master:
    """A gunicorn that handles each signal `late` looks after it came, and empties the file before it writes it."""

    file: Path
    workers: int
    late: int
    queue: list[tuple[int, int]] = field(default_factory=list)
    signals: int = 0
    is_writing: bool = False

    def signal(self, number: int) -> None:
        self.signals += 1
        self.queue.append((number, self.late))

    def look(self) -> None:
        """Go on by one step."""
        if self.is_writing:
            self.file.write_text(str(self.workers))
            self.is_writing = False
        elif self.queue and self.queue[0][1] > 0:
            self.queue[0] = (self.queue[0][0], self.queue[0][1] - 1)
        elif self.queue:
            number, _ = self.queue.pop(0)
            self.workers += 1 if number == signal.SIGTTIN else -1
            self.file.write_text("")
            self.is_writing = True


class Watched(LiveInstance):
    """An instance whose workers all finish their last requests, and whose master goes on whenever it is looked at."""

    def workers_alive(self) -> int:
        return 4

    def workers_ready(self) -> int:
        return 4

    async def change(self, at_most_s: float) -> bool:
        await asyncio.sleep(0)
        cast("Master", self.process).look()
        return True


def scaled(tmp_path: Path, late: int, workers: int) -> Master:
    """The master after a change of its four workers to so many, and after all that it was sent had its effect."""
    master = Master(file=tmp_path / "workers", workers=4, late=late)
    master.file.write_text("4")
    live = Watched(record=replace(_RECORD), readiness=tmp_path, log=tmp_path / "app.log", link=tmp_path / "code")
    live.process = cast("Process", master)
    asyncio.run(worker_signals.scale(live, workers))
    while master.queue or master.is_writing:
        master.look()
    return master


def test_a_number_that_is_just_being_written_is_not_taken_for_none(tmp_path: Path) -> None:
    master = scaled(tmp_path, late=0, workers=2)
    assert (master.workers, master.signals) == (2, 2)


def test_a_signal_is_not_sent_again_while_the_first_is_to_have_its_effect_yet(tmp_path: Path) -> None:
    master = scaled(tmp_path, late=9, workers=1)
    assert (master.workers, master.signals) == (1, 3)


def test_a_number_that_no_master_would_keep_counts_as_none(tmp_path: Path) -> None:
    live = LiveInstance(record=_RECORD, readiness=tmp_path, log=tmp_path / "app.log", link=tmp_path / "code")
    for said in ("", "-3", "0", "9999999", "many"):
        (tmp_path / "workers").write_text(said)
        assert live.workers_set() is None
