"""Every change of what is asked is taken up, by a hand-over that costs no request."""

import json
from functools import partial
from typing import Any

import pytest

from tests.support.eventually import eventually
from tests.support.load import under_load
from tests.support.ports import a_port
from tests.support.site import Site, get, is_refused


def test_new_code_takes_over_without_a_failed_request(site: Site) -> None:
    port = site.app("blog", "1")
    site.start()
    eventually(site.serves("blog", "1", port))
    with under_load(port) as load:
        load.await_more(20)
        for version in ("2", "3"):
            site.source("blog", version)
            eventually(site.serves("blog", version, port))
    assert load.failed == {}
    assert set(load.bodies) == {"1", "2", "3"}


CHANGES: list[dict[str, Any]] = [
    {"env": {"GREETING": "hi"}},
    {"threads": 3},
    {"gunicorn": {"max_requests": 500}},
    {"stop_timeout": "9s"},
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: next(iter(change)))
def test_each_field_of_the_manifest_takes_effect_without_a_failed_request(site: Site, change: dict[str, Any]) -> None:
    port = site.app("blog")
    site.start()
    eventually(site.serves("blog", "1", port))
    before = site.pid("blog")
    with under_load(port) as load:
        load.await_more(10)
        site.app("blog", port=port, **change)
        site.await_successor("blog", before)
    assert load.failed == {}
    if "env" in change:
        assert json.loads(get(port, "/env"))["GREETING"] == "hi"


def _has_workers(site: Site, workers: int) -> bool:
    return site.settled("blog") and site.told("blog")["workers"] == workers


def test_another_number_of_workers_takes_effect_in_the_instance_that_serves(site: Site) -> None:
    port = site.app("blog")
    site.start()
    eventually(site.serves("blog", "1", port))
    before = site.pid("blog")
    with under_load(port) as load:
        load.await_more(10)
        for workers in (2, 1):
            site.app("blog", port=port, workers=workers)
            eventually(partial(_has_workers, site, workers))
    assert load.failed == {}
    assert site.pid("blog") == before
    assert [text.partition(" runs ")[2] for _, kind, text in site.events() if kind == "scaled"] == [
        "2 workers",
        "1 worker",
    ]


def test_a_new_port_is_served_before_the_old_one_is_closed(site: Site) -> None:
    before, after = a_port(), a_port()
    site.app("blog", port=before)
    site.start()
    eventually(site.serves("blog", "1", before))
    site.app("blog", port=after)
    eventually(site.serves("blog", "1", after))
    eventually(lambda: is_refused(before))
    assert site.told("blog")["url"] == f"http://127.0.0.1:{after}/"


def test_stopped_closes_the_port_and_running_opens_it_again(site: Site) -> None:
    port = site.app("blog")
    site.start()
    eventually(site.serves("blog", "1", port))
    site.app("blog", port=port, state="stopped")
    eventually(lambda: site.told("blog")["state"] == "stopped")
    assert site.instances("blog") == []
    eventually(lambda: is_refused(port))
    site.app("blog", port=port)
    eventually(site.serves("blog", "1", port))


def test_a_removed_manifest_takes_its_app_with_it_and_nothing_else(site: Site) -> None:
    ports = {name: site.app(name) for name in ("blog", "shop")}
    site.start()
    eventually(lambda: site.settled("blog", "shop"))
    kept = site.pid("shop")
    (site.manifests / "blog.yaml").unlink()
    eventually(lambda: [row["name"] for row in site.status()["apps"]] == ["shop"])
    eventually(lambda: is_refused(ports["blog"]))
    assert site.pid("shop") == kept
    eventually(lambda: not site.paths.app("blog").exists())
    assert site.paths.home("blog").is_dir()
