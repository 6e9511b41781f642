"""Which trees of static files apps need, and where they are laid out."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from reconciler.planning.apps.observed import Instance
from reconciler.planning.reason import Reason
from reconciler.planning.routing.actions import LayFiles
from reconciler.planning.routing.routing import Routing
from reconciler.planning.routing.static_files import tree_of
from reconciler.routing.static_files import StaticFiles
from reconciler.settings.proxy import Proxy
from reconciler.state.paths import StatePaths
from tests.support.eventually import eventually

ROUTING = Routing(domains=("shop.example.com",), static=(("/static", "staticfiles"),))


def instance(revision: str, started_at: float, **options: Any) -> Instance:
    return Instance(
        id=revision, revision=revision, build=revision, address=None, pid=1, started_at=started_at, workers=1, **options
    )


def files(state: Path, proxy: Proxy, **instances: tuple[Instance, ...]) -> StaticFiles:
    state.mkdir(parents=True, exist_ok=True)
    found = StaticFiles(proxy, StatePaths(state=state))
    found.instances = lambda app: instances.get(app, ())
    found.follow(dict.fromkeys(instances, ROUTING))
    return found


def named(trees: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(each.removesuffix(tree_of("", ROUTING)) for each in trees.get("shop", ()))


def built(state: Path, app: str, revision: str) -> None:
    place = StatePaths(state=state).builds(app) / revision / "code/staticfiles"
    place.mkdir(parents=True)
    (place / "a.css").write_text(f"{app} {revision}")


def laying(found: StaticFiles) -> LayFiles:
    return LayFiles(apps=tuple(found.alive().items()), cause="a test", reason=Reason.DOMAINS_CHANGED)


def test_a_build_that_has_not_passed_its_gate_comes_after_the_one_that_serves(tmp_path: Path) -> None:
    old, new = instance("old", 1.0, ready_at=2.0), instance("new", 3.0)
    ready, stopping = instance("new", 3.0, ready_at=4.0), instance("new", 3.0, ready_at=4.0, stopping_since=5.0)
    assert named(files(tmp_path, Proxy(run=True), shop=(old, new)).alive()) == ("old", "new")
    assert named(files(tmp_path, Proxy(run=True), shop=(old, ready)).alive()) == ("new", "old")
    assert named(files(tmp_path, Proxy(run=True), shop=(old, stopping)).alive()) == ("old", "new")
    draining = instance("older", 0.0, ready_at=0.0, stopping_since=3.0)
    assert named(files(tmp_path, Proxy(run=True), shop=(draining, old, new)).alive())[:2] == ("old", "new")


def test_an_app_that_sleeps_needs_the_files_of_the_build_that_it_wakes_with(tmp_path: Path) -> None:
    found = files(tmp_path, Proxy(run=True), shop=())
    assert found.alive() == {}
    served: Any = SimpleNamespace(id="one", build=SimpleNamespace(id="one"))
    found.served = lambda _: served
    assert named(found.alive()) == ("one",)


def test_two_daemons_with_one_directory_and_what_else_is_in_it_leave_each_other_alone(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    (shared / "shop").mkdir(parents=True)
    (shared / "shop/index.html").write_text("theirs")
    one, two = tmp_path / "one", tmp_path / "two"
    for state in (one, two):
        built(state, "shop", "r")
    serving = (instance("r", 1.0, ready_at=1.0),)
    first, second = (files(state, Proxy(static=shared), shop=serving) for state in (one, two))
    for found in (first, second):
        asyncio.run(found.lay(laying(found)))
        assert named(found.laid) == ("r",)
    asyncio.run(second.lay(LayFiles(apps=(("shop", ()),), cause="a test", reason=Reason.DOMAINS_CHANGED)))
    assert (shared / "shop/index.html").read_text() == "theirs"
    assert named(files(one, Proxy(static=shared), shop=()).laid) == ("r",)
    assert files(two, Proxy(static=shared), shop=()).laid == {}
    assert len([*shared.glob("reconciler-*")]) == 2


def test_an_app_whose_place_is_taken_is_told_of_and_all_others_are_laid_out(tmp_path: Path) -> None:
    for app in ("bad", "shop"):
        built(tmp_path, app, "r")
    serving = (instance("r", 1.0, ready_at=1.0),)
    found = files(tmp_path, Proxy(run=True), bad=serving, shop=serving)
    (StatePaths(state=tmp_path).proxy / "static/bad").mkdir(parents=True)
    with pytest.raises(FileExistsError, match="static/bad is in the way"):
        asyncio.run(found.lay(laying(found)))
    eventually(lambda: named(found.laid) == ("r",))  # it is not waited for
