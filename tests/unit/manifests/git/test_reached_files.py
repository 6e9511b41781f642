"""What is at a place of a commit is told apart by all that can be read there, behind symbolic links as well."""

import pytest

from reconciler.manifests.git.reached_files import ReachedFiles

IDS = {"": "top", "app": "a", "app/lib": "l1", "lib": "b", "lib/x.py": "x", "key": "k", "apps": "l2", "real": "r"}
IDS |= {"real/shop": "s", "plain": "p"}
LINKS = {"app/lib": b"../lib", "apps": b"real", "key": b"lib/x.py"}


def version(place: str, **changed: str) -> str:
    ids = IDS | {path.replace("__", "/"): version for path, version in changed.items()}
    return ReachedFiles(ids, LINKS).version(place)


def test_without_links_it_is_the_id_of_what_is_there() -> None:
    assert (version("lib"), version("lib/x.py"), version("none"), version("")) == ("b", "x", "", version(""))
    assert ReachedFiles(IDS, {}).version("app") == "a"


@pytest.mark.parametrize(
    ("place", "at"), [("app", "lib"), ("key", "lib__x.py"), ("apps/shop", "real__shop"), ("apps", "real")]
)
def test_what_a_link_leads_to_counts(place: str, at: str) -> None:
    assert version(place) != version(place, **{at: "other"})
    assert version(place) == version(place, plain="other")


@pytest.mark.parametrize(
    "links", [{"a": b"a/b"}, {"a": b"b", "b": b"a"}, {"a": b"."}, {"d/a": b"../d"}, {"a": b"\xff"}, {"a": b"../../x"}]
)
def test_links_that_lead_nowhere_or_on_and_on_come_to_an_end(links: dict[str, bytes]) -> None:
    for place in ("a", "d", "d/a/a/a", "a/b/c", ""):
        assert ReachedFiles({"": "top", **dict.fromkeys(links, "l")}, links).version(place) is not None


def test_where_links_lead_on_and_on_all_that_is_in_the_commit_counts() -> None:
    ids, links = {"": "top", "a": "l"}, {"a": b"a/b"}
    assert ReachedFiles(ids, links).version("a") != ReachedFiles(ids | {"": "other"}, links).version("a")
