"""What a soak excuses, what it takes for a leak, and how it reports."""

import time
from collections import Counter
from pathlib import Path

import pytest

from tests.soak.leaks import Look, beyond_a_new_one, grown
from tests.soak.report import Outcome, markdown, write
from tests.soak.requests import Failure, Requests, Shown
from tests.support.ports import a_port


def a_look(**differently: int) -> Look:
    usual = {"pid": 1, "descriptors": 40, "memory": 40 << 20, "threads": 8, "zombies": 0, "processes": 9, "files": 9}
    return Look(minute=1.0, **{**usual, "database": 1 << 20, **differently})


def an_outcome(*failures: Failure, leaks: tuple[str, ...] = ()) -> Outcome:
    return Outcome(
        command="make soak MINUTES=10 SOAK='--seed 7'",
        apps=2, minutes=10, machine="2 cores", deeds=Counter(deploy=3), sent=Counter(ok=5, reset=2),
        failures=failures, shown=SHOWN, daemon_killed_at=(104.0,), never=(), settled_s=0.5,
        looks=(a_look(),), new=a_look(descriptors=38), leaks=leaks,
    )  # fmt: skip


SHOWN = (
    Shown(app="a", deed="deploy", since=50.0, seconds=1.0),
    Shown(app="b", deed="bind", since=103.0, seconds=3.0),
)


def a_failure(excuse: str | None) -> Failure:
    return Failure(app="a", outcome="reset", began=1.0, ended=2.0, excuse=excuse)


@pytest.fixture
def requests() -> Requests:
    return Requests(ports={"a": a_port(), "b": a_port()}, rate=1, rarely=frozenset())  # nobody listens there


def test_a_request_that_is_refused_has_no_excuse(requests: Requests) -> None:
    requests.killed("a", "worker")
    requests._ask("a")
    assert [(failure.outcome, failure.excuse) for failure in requests.failures] == [("refused", None)]


def test_only_the_app_whose_port_was_asked_to_be_closed_has_an_excuse(requests: Requests) -> None:
    requests.closing("a")
    for app in ("a", "b"):
        requests._ask(app)
    assert [failure.excuse for failure in requests.failures] == ["port asked to be closed", None]


def test_the_excuse_is_over_with_the_first_answer_that_is_as_expected(requests: Requests) -> None:
    requests.closing("a")
    requests.expect("a", "2", "open again")
    now = time.monotonic()
    requests._answered("a", now, now, "1")
    assert requests._excuse("a", "refused", now + 1, now + 1)
    requests._answered("a", now + 1, now + 2, "2")
    assert [(shown.app, shown.deed) for shown in requests.shown] == [("a", "open again")]
    assert requests._excuse("a", "refused", now + 0.5, now + 1)
    assert not requests._excuse("a", "refused", now + 2, now + 2)
    assert requests.awaited() == {}


def test_a_reset_is_excused_by_a_kill_it_may_have_met(requests: Requests) -> None:
    now = time.monotonic()
    requests.killed("a", "master")
    assert requests._excuse("a", "reset", now - 1, now + 1) == "master killed by the soak"
    assert not requests._excuse("a", "reset", now - 2, now - 1)
    assert not requests._excuse("a", "reset", now + 60, now + 61)
    assert not requests._excuse("a", "late", now - 1, now + 1)


@pytest.mark.parametrize(
    ("later", "found"),
    [
        ({}, []),
        ({"descriptors": 44, "memory": 50 << 20}, []),
        ({"descriptors": 60}, ["descriptors from 40 to 60"]),
        ({"memory": 80 << 20}, ["memory from 40.0 MiB to 80.0 MiB"]),
    ],
)
def test_a_daemon_that_grows_is_told(later: dict[str, int], found: list[str]) -> None:
    assert grown(a_look(), a_look(**later)) == found


def test_a_daemon_that_holds_more_than_a_new_one_is_told() -> None:
    assert beyond_a_new_one(a_look(), a_look(descriptors=38)) == []
    told = ["40 descriptors, and a new daemon has 10", "2 zombies"]
    assert beyond_a_new_one(a_look(zombies=2), a_look(descriptors=10)) == told


def test_a_soak_is_good_when_nothing_was_lost_and_nothing_leaked() -> None:
    assert an_outcome(a_failure("worker killed by the soak")).good
    assert not an_outcome(a_failure(None)).good
    assert not an_outcome(leaks=("2 zombies",)).good


def test_the_report_takes_the_place_of_the_last_one(tmp_path: Path) -> None:
    document = tmp_path / "reliability.md"
    document.write_text("# Faults\n\n## Limits\n\n- Rain.\n")
    write(markdown(an_outcome(a_failure(None), leaks=("2 zombies",))), document)
    assert "1 failed unexpectedly (1 reset)" in document.read_text()
    write(markdown(an_outcome()), document)
    text = document.read_text()
    assert text.count("## Results of the last soak") == 1
    assert "0 failed unexpectedly, 0 failed as expected." in text
    assert "2 times: median 3.00 s, 95 % within 3.00 s, slowest 3.00 s (bind), and 1.00 s (deploy) with no" in text
    assert "Left over or leaked: nothing." in text
    assert text.startswith("# Faults\n\n## Results of the last soak\n")
    assert text.endswith("```\n\n## Limits\n\n- Rain.\n")
