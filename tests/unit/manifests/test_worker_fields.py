"""A range of workers: read with its defaults, refused with what was expected, and no part of what is deployed."""

import pytest

from reconciler.manifests.app_document import HostDefaults
from reconciler.manifests.parse_file import parse
from reconciler.planning.apps.app import App
from reconciler.planning.scaling.worker_range import WorkerRange


def app(workers: str) -> App:
    parsed = parse("/m/blog.yaml", f"path: x\nworkers: {workers}\n".encode(), HostDefaults())
    assert parsed.problems == ()
    (document,) = parsed.apps
    return document.unleased


def refused(workers: str) -> list[str]:
    parsed = parse("/m/blog.yaml", f"path: x\nworkers: {workers}\n".encode(), HostDefaults())
    return [f"{each.path}: {each.message}" for each in parsed.problems]


def test_a_range_is_read_with_its_defaults_and_begins_with_the_fewest() -> None:
    assert app("{max: 8}").worker_range == WorkerRange(least=1, most=8)
    assert app("{min: 2, max: 8, busy: 50%, queue: 200ms, calm: 15m, spare: 1}").worker_range == WorkerRange(
        least=2, most=8, busy=0.5, queue_s=0.2, calm_s=900.0, spare=1
    )
    assert app("{min: 2, max: 8, busy: 0.5}").worker_range == WorkerRange(least=2, most=8, busy=0.5)
    assert (app("{min: 2, max: 8}").workers, app("3").worker_range) == (2, None)


def test_a_range_in_place_of_a_number_is_the_same_revision() -> None:
    assert {app(each).revision("c1").id for each in ("1", "4", "{max: 8}", "{min: 2, max: 3, calm: 1m}")} == {
        app("2").revision("c1").id
    }
    assert app("2").fingerprint != app("{min: 2, max: 3}").fingerprint


@pytest.mark.parametrize(
    ("workers", "message"),
    [
        ("{min: 1}", "workers.max: is required"),
        ("{min: 4, max: 2}", "workers.min: is more than 'max', which is 2"),
        ("{max: 2, spare: 2}", "workers.spare: must be less than 'max', which is 2"),
        ("{max: 2, busy: 200%}", "workers.busy: expected a share such as 70%, from 5% to 100%, not '200%'"),
        ("{max: 2, busy: 1%}", "workers.busy: expected a share from 5% to 100%"),
        ("{max: 2, queue: 0s}", "workers.queue: must be greater than zero"),
        ("{max: 2, calm: 2d}", "workers.calm: must be at most 1d"),
        (
            "{max: 2, most: 3}",
            "workers.most: unknown field 'most'; the fields here are busy, calm, max, min, queue, spare",
        ),
        ("[1, 8]", "workers: expected a number of workers between 1 and 1000, auto, or a range, not a list"),
    ],
)
def test_what_is_wrong_with_a_range_is_said_where_it_stands(workers: str, message: str) -> None:
    assert refused(workers) == [message]
