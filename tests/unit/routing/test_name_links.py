"""The links of names: as they are to be after each change, also after one that was cut short."""

from pathlib import Path

import pytest

from reconciler.planning.routing.linked_names import Link
from reconciler.routing.name_links import NameLinks

SHOP, BLOG = Link(target="../listeners/shop.sock", key="a" * 32), Link(target="../listeners/blog.sock", key="b" * 32)


def test_names_come_go_and_change_hands(tmp_path: Path) -> None:
    links = NameLinks(tmp_path)
    assert links.look() == {}
    links.make({})
    assert list(tmp_path.iterdir()) == []
    links.make({"a.localhost": SHOP, "b.localhost": SHOP})
    assert links.look() == {"a.localhost": SHOP, "b.localhost": SHOP}
    assert str((tmp_path / "links" / "a.localhost").readlink()) == "../../listeners/shop.sock"
    links.make({"a.localhost": BLOG})
    assert links.look() == {"a.localhost": BLOG}
    assert [each.name for each in tmp_path.glob("*/*")] == ["a.localhost", "a.localhost"]


def test_what_was_cut_short_is_made_good(tmp_path: Path) -> None:
    links = NameLinks(tmp_path)
    links.make({"a.localhost": SHOP})
    (tmp_path / "links" / ".b.localhost").symlink_to("half")
    (tmp_path / "names" / "c.localhost").mkdir()
    (tmp_path / "names" / "a.localhost" / ("c" * 32)).touch()
    assert links.look() != {"a.localhost": SHOP}
    links.make({"a.localhost": SHOP})
    assert links.look() == {"a.localhost": SHOP}


def test_a_name_that_is_cut_short_while_it_changes_hands_never_has_the_key_of_another_app(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    links = NameLinks(tmp_path)
    links.make({"a.localhost": SHOP})
    seen = []
    for method in ("symlink_to", "replace", "unlink", "touch", "mkdir"):

        def looked(path: Path, *args: object, of: object = getattr(Path, method), **more: object) -> None:
            of(path, *args, **more)  # type: ignore[operator]
            found = links.look().get("a.localhost", SHOP)
            keys = {each.name for each in (tmp_path / "names" / "a.localhost").glob("*")}
            seen.append((found.target, keys))

        monkeypatch.setattr(Path, method, looked)
    links.make({"a.localhost": BLOG})
    assert {target for target, _ in seen} == {SHOP.target, BLOG.target}
    whose = {SHOP.target: {SHOP.key}, BLOG.target: {BLOG.key}}
    assert all(keys <= whose[target] for target, keys in seen), seen


def test_what_is_in_the_place_of_a_link_or_a_key_is_removed(tmp_path: Path) -> None:
    links = NameLinks(tmp_path)
    (tmp_path / "links" / "a.localhost" / "deep").mkdir(parents=True)
    (tmp_path / "links" / ".a.localhost").mkdir()
    (tmp_path / "names").mkdir()
    (tmp_path / "names" / "a.localhost").write_text("a file")
    (tmp_path / "names" / "gone.localhost").write_text("a file")
    (tmp_path / "names" / "b.localhost" / "deep").mkdir(parents=True)
    links.make({"a.localhost": SHOP, "b.localhost": BLOG})
    assert links.look() == {"a.localhost": SHOP, "b.localhost": BLOG}
