"""What the page says of an app's workers, in the words of `ps`."""

from typing import Any

import pytest

from reconciler.metrics.instance_processes import InstanceProcess, Phase, RunningInstance
from reconciler.web.worker_rows import worker_rows


def an_instance(*workers: dict[str, Any], phase: Phase = "serving") -> RunningInstance:
    processes = [InstanceProcess(pid=41, role="master", name="gunicorn", age_s=9, memory=1)]
    processes += [
        InstanceProcess(pid=pid, role="worker", name="gunicorn", age_s=8, memory=2, **worker)
        for pid, worker in enumerate(workers, 42)
    ]
    processes.append(InstanceProcess(pid=99, role="child", name="sort", age_s=1, memory=3))
    return RunningInstance(id="i1", app="blog", revision="1a2b", phase=phase, processes=tuple(processes))


@pytest.mark.parametrize(
    ("worker", "phase", "activity"),
    [
        ({"activity": "starting"}, "starting", "starting"),
        ({"activity": "unknown"}, "serving", "unknown"),
        ({"activity": "idle", "in_flight": 0, "requests": 7}, "serving", "idle"),
        ({"activity": "busy", "in_flight": 2, "requests": 7}, "serving", "answering 2"),
        ({"activity": "busy", "in_flight": 2, "requests": 7}, "stopping", "answering 2"),
        ({"activity": "idle", "in_flight": 0, "requests": 7}, "stopping", "finishing its requests"),
    ],
)
def test_a_worker_is_called_idle_only_if_it_is_known_to_be(worker: dict[str, Any], phase: Phase, activity: str) -> None:
    (row,) = worker_rows([an_instance(worker, phase=phase)])
    assert (row.pid, row.master, row.activity, row.requests) == (42, 41, activity, worker.get("requests"))


def test_a_page_has_room_for_so_many_workers() -> None:
    assert len(worker_rows([an_instance(*[{}] * 100)])) == 64
