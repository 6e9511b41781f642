"""A schedule of an app that moves: each of its times is that of one place, also while the app serves at both."""

import json
from typing import Any

import pytest

from tests.cluster.grounds import Place
from tests.support.eventually import eventually

pytestmark = pytest.mark.network

_CRON_JOBS = "apis/batch/v1beta1"
_WITHIN_S = 300.0


def there(place: Place) -> set[int]:
    """The times for which the cluster has made a Job, which its name says: in minutes, before 1.21 in seconds."""
    names = place.kube.names(place.path("jobs", group="apis/batch/v1"))
    times = [int(name.rpartition("-")[2]) for name in names if name.startswith("shop-sweep-")]
    return {time // 60 if time > 1_000_000_000 else time for time in times}


def here(place: Place) -> set[int]:
    """The times for which this host has begun a task, in minutes."""
    told = json.loads(place.site.cli("tasks", "shop", "--json").stdout)["tasks"]
    return {int(each["planned_at"]) // 60 for each in told if each["schedule"] == "sweep" and each["started_at"]}


def test_each_time_of_a_schedule_is_run_at_one_place_while_its_app_serves_at_both(place: Place) -> None:
    fields: dict[str, Any] = {"schedules": {"sweep": {"command": "python -c 'print(1)'", "at": "* * * * *"}}}
    place.app("shop", **fields)
    place.site.start(*place.options(overlap="1h"))
    place.until("running")
    eventually(lambda: there(place), _WITHIN_S)

    place.manifest("shop", **{**fields, "place": "here"})
    eventually(lambda: len(here(place)) > 1, _WITHIN_S)
    assert place.kube.names(place.path("cronjobs", group=_CRON_JOBS)) == []
    assert place.answer() == "1"

    place.manifest("shop", **fields)
    eventually(lambda: max(there(place)) > max(here(place)), _WITHIN_S)
    print(f"in the cluster {sorted(there(place))}, on this host {sorted(here(place))}")
    assert not there(place) & here(place)
