"""Plans of an app that something else is about to run: whatever makes its revision ready, and nothing that serves."""

from dataclasses import replace

import pytest

from reconciler.planning.apps.app import App
from reconciler.planning.apps.code_commands import NO_COMMANDS
from reconciler.planning.apps.observed import ExternalInputs, Observed
from reconciler.planning.apps.plan import plan
from reconciler.planning.apps.plan_preparation import preparation, prepared_revision
from tests.support.plans import APP, B1, B2, BOTH, V1, V2, named
from tests.world import NOW, a_look, a_trouble, an_app, an_instance, serving

MIGRATES = an_app(release="migrate")


def prepares(app: App, observed: Observed, *, release: bool = True) -> str:
    return named(app, preparation(plan(app, observed, NOW), app, observed, release=release))


def test_the_source_is_read_then_staged_then_released_and_nothing_listens_or_starts() -> None:
    nothing, read = Observed(), Observed(source=a_look(APP, "c1"))
    built = replace(read, builds=(MIGRATES.build("c1").id,))
    mark = MIGRATES.revision("c1").release_mark(NO_COMMANDS)
    assert mark is not None
    seen = [preparation(plan(MIGRATES, each, NOW), MIGRATES, each) for each in (nothing, read, built)]
    assert [[type(action).__name__ for action in each.actions] for each in seen] == [
        ["ReadSource"], ["Stage", "Release"], ["Release"],
    ]  # fmt: skip
    assert not any(each.settled for each in seen)
    ready = replace(built, released=frozenset((mark,)))
    done = preparation(plan(MIGRATES, ready, NOW), MIGRATES, ready)
    assert (done.actions, done.settled, done.wanted) == ((), True, MIGRATES.revision("c1").id)


def test_without_the_release_command_a_finished_build_is_enough() -> None:
    built = Observed(source=a_look(APP, "c1"), builds=(MIGRATES.build("c1").id,))
    assert preparation(plan(MIGRATES, built, NOW), MIGRATES, built, release=False).settled
    read = Observed(source=a_look(APP, "c1"))
    planned = preparation(plan(MIGRATES, read, NOW), MIGRATES, read, release=False)
    assert [type(action).__name__ for action in planned.actions] == ["Stage"]


def test_a_build_goes_once_nothing_runs_it_and_no_revision_falls_back_to_it() -> None:
    seen = Observed(source=a_look(APP, "c2"), builds=BOTH)
    assert "remove build b1" in prepares(APP, seen)
    for kept in (
        replace(seen, builds_in_use=frozenset((B1.id,))),
        replace(seen, known_good=(V1,)),
        serving(APP, "c2", builds=BOTH, instances=(an_instance(V1),)),
    ):
        assert "remove build" not in prepares(APP, kept)
    assert B2.id == V2.build.id


@pytest.mark.parametrize(
    "different",
    [
        {"source": replace(a_look(APP, "c1"), stale=True)},
        {"source": replace(a_look(APP, "c1"), problem="no such directory")},
        {"inputs": ExternalInputs(missing=("waiting for its service db",))},
        {"builds": ()},
    ],
)
def test_what_is_not_known_or_not_there_is_not_ready(different: dict[str, object]) -> None:
    ready = Observed(source=a_look(APP, "c1"), builds=(B1.id,))
    assert prepared_revision(APP, ready) == V1
    unready = replace(ready, **different)  # type: ignore[arg-type]
    assert prepared_revision(APP, unready) is None
    assert not preparation(plan(APP, unready, NOW), APP, unready).settled


def test_a_failure_is_reported_with_its_reason() -> None:
    failed = Observed(source=a_look(APP, "c1"), failures=(a_trouble(V1, kind="staging", count=1),))
    planned = preparation(plan(APP, failed, NOW), APP, failed)
    assert (planned.failures, planned.settled) == (1, False)
