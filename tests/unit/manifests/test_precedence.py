"""A manifest of this host's directory wins over one of an origin; of two origins, the one that serves stays."""

import pytest

from reconciler.manifests.app_document import HostDefaults
from reconciler.manifests.catalog import Catalog, Rules, review
from reconciler.manifests.origin import Listing, Look

RULES = Rules(
    host=HostDefaults(directories={"fleet": "/s/origins/fleet/current", "other": "/s/origins/other/current"}),
    ports=range(8000, 8100),
    is_free=lambda _, __: True,
    prune_after_s=30,
)


def local(**files: str) -> Listing:
    return Listing(
        origin="/m", files={f"/m/{name}.yaml": text.encode() for name, text in files.items()}, identity=(1, 2)
    )


def in_git(origin: str = "fleet", commit: str = "a" * 40, **files: str) -> Listing:
    content: dict[str, bytes | str] = {f"{origin}/{name}.yaml": text.encode() for name, text in files.items()}
    return Listing(origin=origin, files=content, identity=commit)


def reviewed(*looks: Look, before: Catalog | None = None) -> Catalog:
    return review(before or Catalog(), looks, RULES, 0.0)


def told(catalog: Catalog) -> list[str]:
    return [str(problem) for entry in catalog.files.values() for problem in entry.problems]


@pytest.mark.parametrize("first", ["fleet", "/m"])
def test_a_local_manifest_wins_whichever_came_first(first: str) -> None:
    ours, theirs = local(shop="path: /ours\n"), in_git(shop="path: theirs\n", blog="path: blog\n")
    before = reviewed(local(), theirs) if first == "fleet" else reviewed(ours, in_git())
    after = reviewed(ours, theirs, before=before)
    assert after.apps["shop"].source.path == "/ours"
    assert after.apps["blog"].source.path == "/s/origins/fleet/current/blog"
    assert told(after) == [
        "fleet/shop.yaml:1:1: name: 'shop' is described by /m/shop.yaml:1, and a manifest of this host wins"
    ]
    assert after.apps["shop"].address == before.apps["shop"].address, "its port stays"


def test_an_app_of_an_origin_is_back_once_the_local_manifest_is_gone() -> None:
    theirs = in_git(shop="path: theirs\n")
    before = reviewed(local(shop="path: /ours\n"), theirs)
    after = reviewed(local(), theirs, before=before)
    assert after.apps["shop"].source.path == "/s/origins/fleet/current/theirs"
    assert told(after) == []


def test_of_two_origins_the_one_that_serves_stays_and_the_other_is_told() -> None:
    first = reviewed(in_git(shop="path: one\n"))
    both = reviewed(in_git(shop="path: one\n"), in_git("other", shop="path: two\n"), before=first)
    assert both.apps["shop"].source.path == "/s/origins/fleet/current/one"
    assert told(both) == ["other/shop.yaml:1:1: name: 'shop' is also claimed by fleet/shop.yaml:1"]


def test_what_a_commit_removes_is_gone_at_once_and_a_replaced_link_is_no_replaced_directory() -> None:
    names = [f"app{number}" for number in range(6)]
    before = reviewed(in_git(**dict.fromkeys(names, "path: x\n")))
    after = reviewed(in_git(commit="b" * 40, app0="path: x\n"), before=before)
    assert set(after.apps) == {"app0"}
    assert after.notice is None


def test_an_origin_without_a_commit_stops_nothing() -> None:
    from reconciler.manifests.origin import Unreadable

    before = reviewed(local(), in_git(shop="path: theirs\n"))
    after = reviewed(local(), Unreadable(origin="fleet", reason="gone"), before=before)
    assert set(after.apps) == {"shop"}


def test_a_version_of_a_source_pins_it_and_is_kept_while_the_origin_cannot_be_read() -> None:
    from dataclasses import replace

    from reconciler.manifests.origin import Unreadable

    look = in_git(shop="path: code\n")
    versioned = replace(look, versions={"/s/origins/fleet/current/code": "1234"})
    before = reviewed(versioned)
    assert before.apps["shop"].source.pinned == "tree:1234"
    after = reviewed(Unreadable(origin="fleet", reason="gone"), local(blog="path: /b\n"), before=before)
    assert after.apps["shop"] is before.apps["shop"]
