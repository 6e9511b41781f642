"""The links of names: as they are to be after each change, also after one that was cut short."""

from pathlib import Path

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
