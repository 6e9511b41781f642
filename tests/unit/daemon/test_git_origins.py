"""The apps of an origin by their outcomes: what they want if that is known, and whether it was rejected."""

from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from reconciler.daemon.git_origins import GitOrigins, app_of
from reconciler.manifests.git.record import Record
from reconciler.planning.apps.app import App
from reconciler.planning.apps.revision import TREE_MARK, Source
from reconciler.planning.origins.proof import OriginApp
from reconciler.state.records import Records
from reconciler.state.schema import open_database

ROW: dict[str, Any] = {"kind": "app", "name": "shop", "outcome": "failed", "message": "it exited", "revision": "2f1e"}


def read(row: dict[str, Any], *, is_being_read: bool = False) -> OriginApp:
    return app_of(row, lambda _: is_being_read)


def test_only_a_revision_that_could_be_built_was_rejected() -> None:
    assert read(ROW | {"reason": "revision-rejected"}).rejected == "it exited"
    assert read(ROW | {"reason": "fallen-back"}).rejected == "it exited"
    unbuilt = read(ROW | {"reason": "staging-failed"})
    assert (unbuilt.rejected, unbuilt.unbuilt) == ("", "it exited")
    assert read(ROW | {"reason": "revision-rejected", "outcome": "under-way"}).rejected == ""


def test_what_an_app_wants_is_not_known_while_its_source_is_being_read_and_of_a_service_never() -> None:
    assert read(ROW).revision == "2f1e"
    assert read(ROW, is_being_read=True).revision is None
    service = read(ROW | {"kind": "service"})
    assert (service.name, service.revision) == ("service shop", None)


def test_what_is_wrong_with_the_host_has_no_reason_and_is_no_app() -> None:
    host: dict[str, Any] = {
        "kind": "host",
        "name": "",
        "outcome": "failed",
        "state": "failing",
        "message": "cannot read",
    }
    assert read(host) == OriginApp(name="", revision=None, outcome="failed", unbuilt="cannot read")


def test_the_others_of_a_repository_look_less_often_once_one_of_them_leads_to_another_commit(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    spared: list[tuple[str | None, str | None]] = []
    monkeypatch.setattr(
        "reconciler.daemon.git_origins.spare_looks",
        lambda _, before, facts: spared.append((before["head"], facts["head"])),
    )
    with closing(open_database(tmp_path / "database")) as database:
        origins = GitOrigins.__new__(GitOrigins)
        origins._records, origins._facts, origins.listeners, origins.followers = Records(database), {}, [], {}
        origins.sources = SimpleNamespace(followers={})  # type: ignore[assignment]
        for head in ("a", "b"):
            origins._publish("fleet", {"name": "fleet", "state": "current", "message": "", "head": head})
    assert spared == [("a", "a"), ("a", "b")]


def test_an_app_that_a_commit_leaves_as_it_was_is_not_looked_at_again_while_that_commit_is_proven() -> None:
    looked: list[set[str]] = []
    revisions: dict[str, str | None] = {"blog": "1", "shop": "1", "wiki": None}

    def of_names(names: set[str]) -> list[dict[str, Any]]:
        looked.append({*names})
        return [ROW | {"name": name, "outcome": "up-to-date", "revision": revisions[name]} for name in sorted(names)]

    file = SimpleNamespace(origin="fleet", all_names=("blog", "shop", "wiki"))
    catalog = SimpleNamespace(identities={"fleet": "bbbb"}, files={"fleet/all.yaml": file}, apps={})
    origins, follower = GitOrigins.__new__(GitOrigins), SimpleNamespace(record=Record(good="aaaa"))
    origins._unchanged, origins._with_good, origins.followers = {}, {}, {"fleet": follower}  # type: ignore[dict-item]
    origins._manifests = SimpleNamespace(is_current=True, catalog=catalog)  # type: ignore[assignment]
    origins._outcomes = SimpleNamespace(of_names=of_names, is_being_read=lambda _: False)  # type: ignore[assignment]

    with_good = {"blog": "1", "shop": "0", "wiki": "1"}
    follower.record = Record(good="aaaa", wanted_with_good=with_good)
    for _ in range(2):
        assert {app.name for app in origins.with_commit("fleet", "bbbb") or ()} >= {"shop", "wiki"}
    assert looked == [{"blog", "shop", "wiki"}, {"shop", "wiki"}]
    follower.record = Record(good="aaaa", wanted_with_good={**with_good})  # of another time that it is in force
    origins.with_commit("fleet", "bbbb")
    follower.record = Record(good="bbbb", wanted_with_good=None)
    for _ in range(2):
        assert len(origins.with_commit("fleet", "bbbb") or ()) == 3
    assert looked[2:] == [{"blog", "shop", "wiki"}] * 3
    assert origins.with_commit("fleet", "cccc") is None


def test_an_app_of_which_a_commit_asks_what_the_good_one_did_is_not_looked_at_at_all() -> None:
    looked: list[set[str]] = []

    def of_names(names: set[str]) -> list[dict[str, Any]]:
        looked.append({*names})
        return [ROW | {"name": name, "outcome": "up-to-date"} for name in sorted(names)]

    tree = Source(path="/x", pinned=f"{TREE_MARK}2f1e")
    blog, shop = (App(name=name, manifest=f"fleet/{name}.yaml", source=tree, address=None) for name in ("blog", "shop"))
    file = SimpleNamespace(origin="fleet", all_names=("blog", "shop", "wiki"))
    catalog = SimpleNamespace(
        identities={"fleet": "aaaa"}, files={"fleet/all.yaml": file}, apps={"blog": blog, "shop": shop}
    )
    follower = SimpleNamespace(record=Record(good="aaaa"))
    origins = GitOrigins.__new__(GitOrigins)
    origins._unchanged, origins._with_good, origins.followers = {}, {}, {"fleet": follower}  # type: ignore[dict-item]
    origins._manifests = SimpleNamespace(is_current=True, catalog=catalog)  # type: ignore[assignment]
    known = {"blog": "1", "shop": "1", "wiki": "1"}
    origins._outcomes = SimpleNamespace(  # type: ignore[assignment]
        of_names=of_names, is_being_read=lambda _: False, wanted=lambda names: {each: known[each] for each in names}
    )
    assert origins.wanted_with("fleet", "bbbb") is None
    assert origins.wanted_with("fleet", "aaaa") == known
    follower.record = Record(good="aaaa", wanted_with_good=known)
    catalog.identities["fleet"] = "bbbb"
    catalog.apps = {"blog": blog, "shop": replace(shop, env={"A": "1"})}
    assert {app.name for app in origins.with_commit("fleet", "bbbb") or ()} == {"shop", "wiki"}
    follower.record = Record(good="aaaa", wanted_with_good={"blog": None, "shop": "1", "wiki": "1"})
    assert {app.name for app in origins.with_commit("fleet", "bbbb") or ()} == {"blog", "shop", "wiki"}
    assert looked == [{"shop", "wiki"}, {"blog", "shop", "wiki"}]
