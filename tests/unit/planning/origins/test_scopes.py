"""A signer changes what is in their scope, by the difference of desired state and not of files."""

from typing import Any

import pytest

from reconciler.planning.origins.scopes import EVERYTHING, Scope, beyond_scope, scope_of
from reconciler.planning.subject import Subject

WEB, BLOG, DB = Subject("app", "shop-web"), Subject("app", "blog"), Subject("service", "shop-db")
BEFORE: dict[Subject | str, Any] = {
    WEB: {"path": "a", "source": {"commit": "1", "repository": "code"}, "files": {"path": "tree1"}, "env": {"A": "1"}},
    BLOG: {"path": "b", "watch": True},
    DB: {"type": "postgresql"},
}
BOT = scope_of({"fields": ["source.commit", "dependencies"]})
BOB = scope_of({"apps": "shop-*"})


def changed(subject: Subject, **fields: Any) -> dict[Subject | str, Any]:
    return BEFORE | {subject: BEFORE.get(subject, {}) | fields}


def without(subject: Subject) -> dict[Subject | str, Any]:
    return {each: document for each, document in BEFORE.items() if each != subject}


def beyond(scope: Scope, after: dict[Subject | str, Any]) -> list[str]:
    return [str(excess) for excess in beyond_scope(scope, [BEFORE], after)]


def test_a_signer_with_all_changes_anything() -> None:
    assert scope_of("all") == EVERYTHING
    assert beyond(EVERYTHING, {}) == []


def test_a_signer_of_some_apps_changes_adds_and_removes_those() -> None:
    assert beyond(BOB, changed(WEB, env={"A": "2"})) == []
    assert beyond(BOB, without(WEB)) == []
    assert beyond(BOB, changed(Subject("app", "shop-new"), path="x")) == []
    assert beyond(BOB, changed(BLOG, path="x")) == ["changes blog"]
    assert beyond(BOB, without(BLOG)) == ["changes blog"]
    assert beyond(BOB, changed(Subject("app", "new"), path="x")) == ["adds new"]
    assert beyond(BOB, changed(DB, plan="big")) == ["changes service shop-db"]


def test_a_file_that_is_no_manifest_is_for_signers_of_everything() -> None:
    every_app = scope_of({"apps": "*", "services": "*"})
    assert beyond(every_app, BEFORE | {"fleet.yaml": "1"}) == ["adds fleet.yaml"]
    assert beyond(scope_of({"fields": "env"}), BEFORE | {"fleet.yaml": "1"}) == ["adds fleet.yaml"]
    assert beyond(EVERYTHING, BEFORE | {"fleet.yaml": "1"}) == []


def test_a_bot_that_may_bump_a_pin_changes_nothing_else() -> None:
    assert beyond(BOT, changed(WEB, source={"commit": "2", "repository": "code"})) == []
    assert beyond(BOT, changed(WEB, dependencies={"file": "uv.lock"})) == []
    assert beyond(BOT, changed(WEB, source={"commit": "2", "repository": "other"})) == [
        "changes shop-web (source.repository)"
    ]
    assert beyond(BOT, changed(WEB, source="x")) == ["changes shop-web (source)"]
    assert beyond(BOT, changed(WEB, env={"A": "1", "B": "2"})) == ["changes shop-web (env.B)"]
    assert beyond(BOT, changed(WEB, env={})) == ["changes shop-web (env.A)"]
    assert beyond(BOT, changed(WEB, source_commit="x")) == ["changes shop-web (source_commit)"]
    assert beyond(BOT, without(WEB)) == ["removes shop-web"]
    assert beyond(BOT, changed(Subject("app", "new"), dependencies="x")) == ["adds new"]


def test_a_change_of_code_behind_an_unchanged_manifest_is_a_change() -> None:
    assert beyond(BOT, changed(WEB, files={"path": "tree2"})) == ["changes shop-web (files.path)"]


def test_true_is_not_taken_for_one() -> None:
    assert beyond(BOT, changed(BLOG, watch=1)) == ["changes blog (watch)"]
    assert beyond(BOB, changed(BLOG, watch=1)) == ["changes blog"]


def test_fields_of_some_apps_are_both() -> None:
    scope = scope_of({"apps": ["shop-*"], "fields": "env"})
    assert beyond(scope, changed(WEB, env={"Z": "1"})) == []
    assert beyond(scope, changed(BLOG, env={"Z": "1"})) == ["changes blog"]


def test_a_signer_without_a_scope_changes_nothing() -> None:
    assert beyond(Scope(), BEFORE) == []
    assert beyond(Scope(), changed(WEB, path="x")) == ["changes shop-web"]


def test_a_file_that_is_moved_or_written_otherwise_is_no_change() -> None:
    assert beyond(Scope(), dict(reversed(BEFORE.items()))) == []


def test_a_merge_cannot_undo_what_another_signer_did() -> None:
    """Against its first parent, the merge changes nothing; against the second, it takes back what Alice changed."""
    alice = changed(BLOG, path="fixed")
    merge = BEFORE
    assert beyond_scope(BOB, [BEFORE], merge) == ()
    assert [str(each) for each in beyond_scope(BOB, [BEFORE, alice], merge)] == ["changes blog"]


def test_a_first_commit_is_all_change() -> None:
    assert [str(each) for each in beyond_scope(BOB, [], BEFORE)] == ["adds blog", "adds service shop-db"]


@pytest.mark.parametrize("pattern", ["shop*", "*"])
def test_patterns_are_those_of_file_names(pattern: str) -> None:
    assert beyond(scope_of({"apps": pattern}), changed(WEB, path="x")) == []
