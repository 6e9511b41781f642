"""Manifests from several origins: all in force, each unreadable alone, and none claiming what another has."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from reconciler.linux.followed_paths import FollowedPaths
from reconciler.linux.inotify import Watch
from reconciler.manifests import persisted
from reconciler.manifests.app_document import HostDefaults
from reconciler.manifests.catalog import Catalog, Rules, origin_of, review
from reconciler.manifests.directory_files import read_directory
from reconciler.manifests.directory_origin import Directory
from reconciler.manifests.origin import Listing, Look, Origin, Unreadable
from reconciler.state.records import Records
from reconciler.state.schema import open_database

RULES = Rules(host=HostDefaults(), ports=range(20000, 20100), is_free=lambda host, port: True, prune_after_s=30)


@asynccontextmanager
async def two(tmp_path: Path) -> AsyncIterator[tuple[Directory, Directory]]:
    """Two directories of manifests, one/ and two/."""
    paths, look_now = FollowedPaths(Watch(asyncio.get_running_loop().call_soon_threadsafe)), asyncio.Event()
    origins = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        origins.append(Directory(str(tmp_path / name), paths, look_now))
    try:
        yield origins[0], origins[1]
    finally:
        for origin in origins:
            origin.close()


async def reviewed(before: Catalog, *origins: Origin, now: float = 0) -> Catalog:
    return review(before, [await origin.look() for origin in origins], RULES, now)


async def settled(before: Catalog, *origins: Origin) -> Catalog:
    """Review what the directories hold, whatever has yet to settle."""
    return review(before, [await asyncio.to_thread(read_directory, origin.name) for origin in origins], RULES, 0)


def problems(catalog: Catalog) -> list[str]:
    return [str(problem) for entry in catalog.files.values() for problem in entry.problems]


def test_the_manifests_of_two_directories_are_in_force_together(tmp_path: Path) -> None:
    async def main() -> None:
        async with two(tmp_path) as origins:
            (tmp_path / "one" / "blog.yaml").write_text("path: x")
            (tmp_path / "two" / "shop.yaml").write_text("path: y")
            catalog = await reviewed(Catalog(), *origins)
            assert {name: app.source.path for name, app in catalog.apps.items()} == {
                "blog": f"{tmp_path}/one/x",
                "shop": f"{tmp_path}/two/y",
            }
            assert [entry.origin for entry in catalog.files.values()] == [f"{tmp_path}/one", f"{tmp_path}/two"]
            (tmp_path / "one" / "blog.yaml").unlink()
            assert (await settled(catalog, *origins)).apps.keys() == {"shop"}

    asyncio.run(main())


def test_a_directory_that_cannot_be_read_keeps_its_own_manifests_in_force_and_no_others(tmp_path: Path) -> None:
    async def main() -> None:
        async with two(tmp_path) as origins:
            for name in ("blog", "news"):
                (tmp_path / "one" / f"{name}.yaml").write_text("path: x")
            for name in ("shop", "wiki"):
                (tmp_path / "two" / f"{name}.yaml").write_text("path: y")
            before = await reviewed(Catalog(), *origins)
            (tmp_path / "one").rename(tmp_path / "away")
            (tmp_path / "two" / "wiki.yaml").unlink()
            (tmp_path / "two" / "shop.yaml").write_text("path: y\nworkers: 2")
            blind = await settled(before, *origins)
            assert blind.apps.keys() == {"blog", "news", "shop"}
            assert blind.apps["shop"].server.workers == 2
            assert blind.notice == (
                f"cannot read {tmp_path}/one: No such file or directory; nothing is stopped until it can be read"
            )
            (tmp_path / "away").rename(tmp_path / "one")
            (tmp_path / "one" / "news.yaml").unlink()
            after = await settled(blind, *origins)
            assert after.apps.keys() == {"blog", "shop"}
            assert after.notice is None

    asyncio.run(main())


def test_two_directories_that_claim_one_name_or_port_are_both_refused_each_naming_the_other(tmp_path: Path) -> None:
    async def main() -> None:
        async with two(tmp_path) as origins:
            one, other = tmp_path / "one", tmp_path / "two"
            (one / "blog.yaml").write_text("path: x")
            (other / "blog.yaml").write_text("path: y")
            (one / "news.yaml").write_text("path: x\nport: 8001")
            (other / "wiki.yaml").write_text("path: y\nport: 8001")
            catalog = await reviewed(Catalog(), *origins)
            assert catalog.apps == {}
            assert problems(catalog) == [
                f"{one}/blog.yaml:1:1: name: 'blog' is also claimed by {other}/blog.yaml:1",
                f"{one}/news.yaml:2:1: port: 127.0.0.1:8001 is also claimed by 'wiki' in {other}/wiki.yaml:2",
                f"{other}/blog.yaml:1:1: name: 'blog' is also claimed by {one}/blog.yaml:1",
                f"{other}/wiki.yaml:2:1: port: 127.0.0.1:8001 is also claimed by 'news' in {one}/news.yaml:2",
            ]

    asyncio.run(main())


# By hand: what an origin that is no directory would give.


def listing(origin: str, identity: int = 1, /, **files: str) -> Listing:
    content = {f"{origin}/{stem}.yaml": text.encode() for stem, text in files.items()}
    return Listing(origin=origin, files=content, identity=(1, identity))


def after(*story: list[Look], now: float = 0) -> Catalog:
    catalog = Catalog()
    for looks in story:
        catalog = review(catalog, looks, RULES, now)
    return catalog


def test_a_newcomer_does_not_take_the_name_of_an_app_whose_origin_cannot_be_read() -> None:
    gone = Unreadable(origin="/one", reason="cannot read /one: gone")
    catalog = after([listing("/one", a="path: x"), listing("/two")], [gone, listing("/two", a="path: y")])
    assert catalog.apps["a"].source.path == "/one/x"
    assert problems(catalog) == ["/two/a.yaml:1:1: name: 'a' is also claimed by /one/a.yaml:1"]


def test_an_origin_that_was_replaced_or_lost_most_of_its_apps_is_not_believed_at_once_whatever_others_hold() -> None:
    many = dict.fromkeys("abcdefghijklmnop", "path: x")
    few = {f"few-{i}": "path: y" for i in range(6)}
    start: list[Look] = [listing("/one", **many), listing("/two", **few)]
    emptied = after(start, [listing("/one", **many), listing("/two")])
    assert few.keys() <= emptied.apps.keys()
    assert emptied.recheck_at == 30
    replaced = after(start, [listing("/one", **many), listing("/two", 2, **{**few, "few-0": "path: ["})])
    assert replaced.apps.keys() == many.keys() | few.keys()
    one_less = after(start, [listing("/one", **many), listing("/two", **{n: few[n] for n in list(few)[1:]})])
    assert "few-0" not in one_less.apps


def test_the_apps_of_an_origin_that_is_configured_no_more_go_once_every_origin_can_be_read() -> None:
    old: list[Look] = [listing("/old", a="path: x")]
    blind = after(old, [Unreadable(origin="/new", reason="cannot read /new: gone")])
    assert blind.apps.keys() == {"a"}
    moved = review(blind, [listing("/new", b="path: y")], RULES, 10)
    assert moved.apps.keys() == {"a", "b"}
    assert moved.recheck_at == 40
    assert review(moved, [listing("/new", b="path: y")], RULES, 39).apps.keys() == {"a", "b"}
    assert review(moved, [listing("/new", b="path: y")], RULES, 40).apps.keys() == {"b"}


def test_an_app_that_moves_from_one_origin_to_another_goes_on() -> None:
    catalog = after([listing("/one", a="path: /x"), listing("/two")], [listing("/one"), listing("/two", a="path: /x")])
    assert (catalog.apps["a"].manifest, problems(catalog)) == ("/two/a.yaml", [])


def test_a_file_belongs_to_the_origin_that_names_it_most_closely() -> None:
    origins = ["/m", "/m/hosts", "fleet"]
    assert origin_of("/m/a.yaml", origins) == "/m"
    assert origin_of("/m/hosts/a.yaml", origins) == "/m/hosts"
    assert origin_of("fleet/hosts/web1/a.yaml", origins) == "fleet"
    assert origin_of("/other/a.yaml", origins) == "/other"


# What is stored


def test_what_two_origins_had_in_force_is_restored_with_its_origins(tmp_path: Path) -> None:
    records = Records(open_database(tmp_path / "reconciler.db"))
    before = after([listing("/one", a="path: x"), listing("fleet", b="path: y")])
    persisted.remember(records, Catalog(), before, tmp_path, persisted.Written())
    restored = persisted.restored(records, RULES)
    assert restored.apps == before.apps
    assert {file: entry.origin for file, entry in restored.files.items()} == {
        "/one/a.yaml": "/one",
        "fleet/b.yaml": "fleet",
    }
    gone: list[Look] = [Unreadable(origin="/one", reason="gone"), listing("fleet", b="path: y")]
    assert review(restored, gone, RULES, 0).apps == before.apps


def test_the_facts_of_each_change_are_those_that_a_daemon_without_memory_would_write(tmp_path: Path) -> None:
    records, written = Records(open_database(tmp_path / "reconciler.db")), persisted.Written()
    story: list[list[Look]] = [
        [listing("/one", a="path: x", b="path: y")],
        [listing("/one", a="path: x", b="pth: y")],
        [listing("/one", a="path: x\nenv: {A: b}", c="kind: service\ntype: sqlite\nname: c")],
        [listing("/one")],
        [listing("/one", a="path: z", b="path: y")],
    ]
    before, seen = Catalog(), []
    for number in range(len(story)):
        catalog = after(*story[: number + 1])
        persisted.remember(records, before, catalog, tmp_path, written)
        found = persisted.remembered_facts(records)
        assert json.dumps(found) == json.dumps(json.loads(persisted.Written().facts(catalog, tmp_path)))
        assert found["apps"].keys() == catalog.apps.keys()  # type: ignore[union-attr]
        seen.append([each["errors"] != [] for each in found["files"]])  # type: ignore[index, union-attr, call-overload]
        before = catalog
    assert seen[:2] == [[False, False], [False, True]]


def test_what_an_earlier_version_stored_of_its_one_directory_is_taken_over_unchanged(tmp_path: Path) -> None:
    records = Records(open_database(tmp_path / "reconciler.db"))
    directory = tmp_path / "manifests"
    directory.mkdir()
    records.replace_manifests({f"{directory}/blog.yaml": b"path: x\nport: 8001"})
    status = directory.stat()
    records.set_fact("manifests-identity", f"[{status.st_dev}, {status.st_ino}]")
    restored = persisted.restored(records, RULES)
    assert restored.identities == {str(directory): (status.st_dev, status.st_ino)}
    (directory / "blog.yaml").write_text("path: x\nport: 8001")

    async def main() -> None:
        paths = FollowedPaths(Watch(asyncio.get_running_loop().call_soon_threadsafe))
        origin = Directory(os.fspath(directory), paths, asyncio.Event())
        catalog = await reviewed(restored, origin)
        origin.close()
        assert (catalog.apps, catalog.notice) == (restored.apps, None)
        assert catalog.apps["blog"] is restored.apps["blog"]

    asyncio.run(main())
