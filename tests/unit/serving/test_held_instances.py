"""What is held of instances goes with them."""

from pathlib import Path

import pytest

from reconciler.planning.address import Address
from reconciler.serving.held_instances import HeldInstances
from reconciler.serving.live_instance import LiveInstance
from reconciler.state.records import InstanceRecord


def an_instance(app: str, process: str, number: int) -> LiveInstance:
    """Return an instance that was never started."""
    record = InstanceRecord(
        id=f"{number:012x}", app=app, revision="r" * 12, build="b" * 12, boot="boot", started_at=1.0,
        address=Address(host="127.0.0.1", port=8000), workers=1, stop_timeout_s=1.0,
        process=process, slot=int(bool(process)),
    )  # fmt: skip
    return LiveInstance(
        record=record, readiness=Path("passed"), log=Path(f"{process or 'app'}.1.log"), link=Path("code"), log_start=0
    )


@pytest.mark.parametrize("process", ["", "worker"])
def test_an_instance_that_is_let_go_leaves_nothing_of_its_own(process: str) -> None:
    held = HeldInstances()
    before = {name: len(kept) for name, kept in vars(held).items()}
    for number in range(100):
        live = an_instance(f"app-{number}", process, number)
        held.hold(live)
        assert [*held.all()] == held.of_app(f"app-{number}") == [live]
        assert held.process_keys(f"app-{number}") == ({live.record.key} if process else frozenset())
        held.let_go(live)
        held.let_go(live)
        held.forget_logs(f"app-{number}")
    assert {name: len(kept) for name, kept in vars(held).items()} == before


def test_the_other_instances_of_an_app_stay() -> None:
    held = HeldInstances()
    web, worker, again = (an_instance("shop", process, n) for n, process in enumerate(("", "worker", "worker")))
    for live in (web, worker, again):
        held.hold(live)
    held.let_go(worker)
    assert (held.of_app("shop").count(again), held.lives("shop/worker"), held.lives("shop")) == (1, (again,), (web,))
    held.let_go(again)
    assert held.apps() == {"shop"}
    assert not held.process_keys("shop") | held.apps_of_processes()
