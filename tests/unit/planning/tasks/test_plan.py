"""What is done about tasks: in which order they start, and that none starts twice or runs on for ever."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from reconciler.planning.tasks.actions import (
    DropTask,
    EndTask,
    KillTask,
    RecordEnd,
    RecordOccurrences,
    StartTask,
    Tell,
)
from reconciler.planning.tasks.admission import MOST_BY_HAND, admitted
from reconciler.planning.tasks.observed import ObservedTasks
from reconciler.planning.tasks.plan import plan
from reconciler.planning.tasks.task import Task


def task(number: int = 1, **fields: Any) -> Task:
    asked: dict[str, Any] = {
        "id": f"{number:08x}", "app": "shop", "kind": "task", "name": "reindex", "state": "owed",
        "command": json.dumps(["python", "reindex.py"]), "owed_at": float(number), "timeout_s": 60.0,
    }  # fmt: skip
    return Task(**{**asked, **fields})


def occurrence(number: int, at: float, **fields: Any) -> Task:
    return task(number, kind="schedule", schedule="cleanup", planned_at=at, **fields)


@st.composite
def tasks(draw: st.DrawFn) -> list[Task]:
    found = []
    for number in range(draw(st.integers(0, 12))):
        fields: dict[str, Any] = {
            "state": draw(st.sampled_from(["owed", "running"])),
            "cancelled_by": draw(st.sampled_from(["", "", "root"])),
        }
        if fields["state"] == "running":
            fields |= {"pid": 1000 + number, "told_at": draw(st.sampled_from([None, 5.0]))}
        if draw(st.booleans()):
            found.append(occurrence(number, float(draw(st.integers(0, 20))), **fields))
        else:
            found.append(task(number, **fields))
    return found


@given(tasks(), st.integers(1, 4))
def test_no_more_occurrences_run_than_the_host_allows_and_those_that_start_are_the_oldest(
    found: list[Task], concurrency: int
) -> None:
    chosen = admitted(found, concurrency)
    scheduled = [each for each in found if each.kind == "schedule"]
    running = sum(each.state == "running" for each in scheduled)
    starting = [each for each in scheduled if each.id in chosen]
    waiting = [each for each in scheduled if each.state == "owed" and each.id not in chosen]
    assert all(each.state == "owed" for each in found if each.id in chosen)
    assert len(starting) <= max(0, concurrency - running)
    assert not waiting or len(starting) == max(0, concurrency - running)
    assert all((a.planned_at or 0) <= (b.planned_at or 0) for a in starting for b in waiting)


def test_what_an_operator_asks_for_waits_for_no_occurrence() -> None:
    running = [occurrence(number, 1.0, state="running") for number in range(9)]
    assert admitted([*running, task(20)], 1) == {task(20).id}
    by_hand = [task(number, state="running") for number in range(MOST_BY_HAND)]
    assert admitted([*by_hand, task(200)], 1) == frozenset()


@given(tasks(), st.integers(1, 4), st.booleans(), st.sampled_from(["", "not served yet"]), st.data())
def test_a_plan_starts_only_what_is_owed_and_records_whatever_has_ended(
    found: list[Task], concurrency: int, removed: bool, unready: str, data: st.DataObject
) -> None:
    running = [each.id for each in found if each.state == "running"]
    ended = frozenset(data.draw(st.sets(st.sampled_from(running)))) if running else frozenset()
    overdue = tuple((each, data.draw(st.sampled_from([5.0, 15.0]))) for each in running)
    observed = ObservedTasks(
        tasks=tuple(found), ended=ended, admitted=admitted(found, concurrency), removed=removed, unready=unready,
        overdue_at=overdue,
    )  # fmt: skip
    planned = plan(observed, 10.0)
    actions = [action for action in planned.actions if not isinstance(action, RecordOccurrences | Tell)]
    assert len(actions) == len(planned.actions), "of a host without schedules"
    by_id = {each.id: each for each in found}
    assert len({each.task for each in actions}) == len(actions), "one action for each task"
    for action in actions:
        about = by_id[action.task]
        match action:
            case StartTask():
                assert (about.state, about.cancelled_by, removed, unready) == ("owed", "", False, "")
                assert about.id in observed.admitted
            case DropTask():
                assert about.state == "owed"
                assert about.cancelled_by or removed
            case RecordEnd():
                assert about.id in ended
            case EndTask():
                assert (about.state, about.told_at) == ("running", None)
                assert about.cancelled_by or removed
            case KillTask():
                assert dict(overdue)[about.id] <= 10.0
    assert {each.task for each in actions if isinstance(each, RecordEnd)} == ended
    if removed:
        assert not any(by_id[each.task].state == "owed" for each in actions if isinstance(each, StartTask))
        told = {each.task for each in actions}
        assert {each.id for each in found if each.told_at is None} <= told, "nothing of a removed app is left"
    later = [at for _, at in overdue if at > 10.0]
    assert planned.recheck_at == (min(later) if later else None)
