"""The source of an app in a repository: as a manifest names it, as it is refused, and as it is found on this host."""

from pathlib import Path

import pytest

from reconciler.manifests.app_document import HostDefaults
from reconciler.manifests.parse_file import parse
from reconciler.manifests.sources_in_git import SourceInForce, resolved
from reconciler.planning.apps.app import App
from reconciler.settings.git import Repository

CODE = Repository(name="code", urls=("/code.git",), signed="no")
TAGGED = Repository(name="tagged", urls=("/tagged.git",), signed="tag", signers=Path("/signers"))
HOST = HostDefaults(repositories={"code": CODE, "tagged": TAGGED})


def app(source: str) -> App:
    parsed = parse("/m/shop.yaml", f"source: {source}\n".encode(), HOST)
    assert parsed.problems == ()
    return parsed.apps[0].unleased


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("source: {repository: code}", "1:9: source: requires one of 'branch', 'tag' and 'commit', and has none"),
        (
            "source: {repository: code, branch: main, tag: v1}",
            "1:9: source: requires one of 'branch', 'tag' and 'commit', not branch and tag",
        ),
        (
            "source: {repository: cod, branch: main}",
            "1:22: source.repository: no repository is named 'cod'; did you mean 'code'?",
        ),
        ("source: {repository: tagged, branch: main}", "1:9: source: requires 'tag', as the repository 'tagged' has"),
        ("source: {repository: code, branch: main, signed: true}", "1:50: source.signed: is for 'tag' only"),
        ("source: {repository: code, tag: v1, signed: true}", "1:45: source.signed: requires 'signers' of the"),
        ("source: {repository: code, commit: 4f1c}", "1:36: source.commit: expected the full id of a commit, not"),
        ("source: {repository: code, branch: a..b}", "1:36: source.branch: expected the name of a branch, not 'a..b'"),
        ("source: {repository: code, tag: 'v*'}", "1:33: source.tag: expected the name of a tag, not 'v*'"),
        ("source: {repository: code, branch: main, path: ../x}", "1:48: source.path: expected a directory of the"),
        ("source: ../apps/shop", "1:9: source: expected a directory of a repository, such as"),
        ("source: {repository: code, branch: main}\npath: x", "1:1: source: stands in place of 'path': leave one of"),
        ("source: {repository: code, branch: main}\nwatch: false", "2:8: watch: is for 'path' only"),
    ],
)
def test_each_mistake_has_its_place_and_its_words(text: str, expected: str) -> None:
    problems = [str(problem) for problem in parse("/m/shop.yaml", text.encode(), HOST).problems]
    assert len(problems) == 1
    assert problems[0].startswith(f"/m/shop.yaml:{expected}")


def test_a_source_is_awaited_until_it_is_known_which_directory_it_is() -> None:
    shop = app("{repository: code, branch: main, path: ./web/}")
    assert shop.source.is_awaited
    assert shop.source.missing == "main of code is not fetched yet"
    assert resolved(shop, {}) == shop
    found = SourceInForce(commit="c" * 40, top="/s/code/trees", trees={"web": "t" * 40})
    here = resolved(shop, {"code@main": found})
    assert (here.source.path, here.source.missing, here.commit) == (f"/s/code/trees/{'t' * 40}", "", "c" * 40)


def test_a_source_that_is_not_in_the_commit_or_cannot_be_fetched_is_told_with_its_reason() -> None:
    shop = app("{repository: code, branch: main, path: web}")
    unfit = resolved(shop, {"code@main": SourceInForce(commit="c" * 40, problems={"web": "it has no 'web'"})})
    assert (unfit.source.missing, unfit.source.is_awaited, unfit.commit) == ("it has no 'web'", False, "")
    away = resolved(shop, {"code@main": SourceInForce(why="no such repository", is_failing=True)})
    assert (away.source.missing, away.source.is_awaited) == ("no such repository", False)


def test_commits_that_have_the_same_directories_are_one_to_the_manifests() -> None:
    one, other = (SourceInForce(commit=c * 40, top="/s", trees={"web": "t"}) for c in "ab")
    assert one == other
