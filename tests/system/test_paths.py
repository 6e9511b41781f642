"""Sources, archives, secrets and manifests are what their paths lead to, whatever step of them is replaced."""

import json
import subprocess
import tarfile
from pathlib import Path

from tests.support.eventually import eventually
from tests.support.life import Cues
from tests.support.ports import a_port
from tests.support.site import WSGI, Site, get

_AS_SOMEBODY = ("-c", "user.name=somebody", "-c", "user.email=somebody@example.com", "-c", "core.hooksPath=/dev/null")


def turn(link: Path, target: str) -> None:
    beside = link.with_name(f"{link.name}.next")
    beside.symlink_to(target)
    beside.rename(link)


def release(directory: Path, version: str) -> None:
    directory.mkdir(parents=True)
    (directory / "wsgi.py").write_text(WSGI.replace("{version}", version))


def archived(site: Site, version: str) -> None:
    """Put an archive of this version beside the apps, as `shop-VERSION.tar`."""
    release(site.root / f"shop-{version}", version)
    with tarfile.open(site.root / "apps" / f"shop-{version}.tar", "w") as packed:
        packed.add(site.root / f"shop-{version}", arcname=".")


def served(site: Site, path: str) -> int:
    port = a_port()
    site.manifest("shop", path=path, port=port)
    site.start()
    eventually(lambda: get(port) == "1", within=60.0)
    return port


def test_a_link_on_the_way_to_a_source_that_is_turned_is_a_deploy(site: Site) -> None:
    releases = site.root / "apps" / "shop" / "releases"
    for version in ("1", "2"):
        release(releases / version / "web", version)
    current = site.root / "apps" / "shop" / "current"
    current.symlink_to("releases/1")
    port = served(site, str(current / "web"))
    turn(current, "releases/2")
    eventually(lambda: get(port) == "2", within=30.0)
    site.save(releases / "2" / "web" / "wsgi.py", WSGI.replace("{version}", "edited"))
    eventually(lambda: get(port) == "edited", within=30.0)


def test_a_source_that_was_no_source_is_read_as_soon_as_it_is_one(site: Site) -> None:
    current, port = site.root / "apps" / "shop", a_port()
    current.write_text("no directory")
    site.manifest("shop", path=str(current), port=port)
    site.live(retry_first_s=3600.0, retry_cap_s=3600.0)
    eventually(lambda: site.told("shop")["state"] == "failing", within=60.0)
    release(site.root / "releases" / "1", "1")
    turn(current, str(site.root / "releases" / "1"))
    eventually(lambda: get(port) == "1", within=60.0)


def test_an_edit_after_the_directory_or_one_above_it_was_replaced_is_seen(site: Site) -> None:
    apps = site.root / "apps"
    release(apps / "group" / "shop", "1")
    release(site.root / "new" / "shop", "2")
    release(site.root / "third", "3")
    port = served(site, str(apps / "group" / "shop"))
    (apps / "group").rename(site.root / "old")
    (site.root / "new").rename(apps / "group")
    eventually(lambda: get(port) == "2", within=30.0)
    (apps / "group" / "shop").rename(site.root / "older")
    (site.root / "third").rename(apps / "group" / "shop")
    eventually(lambda: get(port) == "3", within=30.0)
    site.save(apps / "group" / "shop" / "wsgi.py", WSGI.replace("{version}", "edited"))
    eventually(lambda: get(port) == "edited", within=30.0)


def test_a_source_that_is_replaced_whole_needs_no_rest(site: Site) -> None:
    apps, port = site.root / "apps", a_port()
    for version in ("1", "2", "3"):
        release(site.root / version, version)
    (site.root / "1").rename(apps / "shop")
    (apps / "current").symlink_to("shop")
    site.manifest("shop", path=str(apps / "current"), port=port)
    soon_again = Cues(constants={"reconciler.staging.source.watches._ARRIVALS_S": 0.0})
    site.live(soon_again, quiet_s=3600.0, longest_s=3600.0)
    eventually(lambda: get(port) == "1", within=60.0)
    (apps / "shop").rename(site.root / "old")
    (site.root / "2").rename(apps / "shop")
    eventually(lambda: get(port) == "2", within=60.0)
    (site.root / "3").rename(apps / "other")
    turn(apps / "current", "other")
    eventually(lambda: get(port) == "3", within=60.0)


def test_a_checkout_is_one_deploy_however_long_git_takes(site: Site) -> None:
    """What git writes last waits for a program that filters it; git holds its lock meanwhile."""
    source, go = site.root / "apps" / "shop", site.root / "go"
    release(source, "1")
    (source / "zzz.txt").write_text("1")

    def git(*words: str) -> None:
        subprocess.run(["git", "-C", str(source), *_AS_SOMEBODY, *words], check=True, capture_output=True)

    git("init", "-q")
    (source / ".gitattributes").write_text("zzz.txt filter=slow\n")
    git("add", "-A")
    git("commit", "-qm", "one")
    (source / "wsgi.py").write_text(WSGI.replace("{version}", "2"))
    (source / "zzz.txt").write_text("2")
    git("commit", "-qam", "two")
    git("checkout", "-q", "HEAD~1")
    port = a_port()
    site.manifest("shop", path=str(source), port=port)
    site.live(longest_s=3600.0)
    eventually(lambda: get(port) == "1", within=60.0)
    git("config", "filter.slow.smudge", f"while [ ! -e '{go}' ]; do sleep 0.05; done; cat")
    checkout = subprocess.Popen(["git", "-C", str(source), "checkout", "-q", "-"], stderr=subprocess.DEVNULL)
    try:
        eventually(lambda: '"2"' in (source / "wsgi.py").read_text())
        site.save(site.manifests / "other.yaml", "path: ../apps/none\n")  # read after the source has been quiet
        eventually(lambda: any(row["name"] == "other" for row in site.status()["apps"]))
        go.touch()
        assert checkout.wait(60) == 0
    finally:
        checkout.kill()
        checkout.wait()
    eventually(lambda: get(port) == "2", within=60.0)
    site.await_settled("shop")
    assert [text for _, kind, text in site.events("shop") if kind == "source"] == ["its source changed"]


def test_an_archive_behind_a_link_is_followed(site: Site) -> None:
    (site.root / "apps").mkdir(exist_ok=True)
    for version in ("1", "2", "3"):
        archived(site, version)
    apps = site.root / "apps"
    (apps / "shop.tar").symlink_to("shop-1.tar")
    port = served(site, str(apps / "shop.tar"))
    turn(apps / "shop.tar", "shop-2.tar")
    eventually(lambda: get(port) == "2", within=30.0)
    (apps / "shop-3.tar").rename(apps / "shop-2.tar")
    eventually(lambda: get(port) == "3", within=30.0)


def test_a_secret_in_a_directory_that_is_new_or_turned_is_read(site: Site) -> None:
    site.source("shop")
    port = a_port()
    token, lines = site.root / "conf" / "token", site.root / "conf" / "lines"
    site.manifest("shop", port=port, env={"TOKEN": {"file": str(token)}}, env_files=[str(lines)])
    site.start()

    def secrets() -> tuple[str, str]:
        found = json.loads(get(port, "/env"))
        return found["TOKEN"], found["LINE"]

    eventually(lambda: site.told("shop")["state"] in ("starting", "failing", "pending"), within=60.0)
    for version in ("one", "two"):
        (site.root / f"conf-{version}").mkdir()
        (site.root / f"conf-{version}" / "token").write_text(version)
        (site.root / f"conf-{version}" / "lines").write_text(f"LINE={version}\n")
    (site.root / "conf").symlink_to("conf-one")
    eventually(lambda: secrets() == ("one", "one"), within=30.0)
    turn(site.root / "conf", "conf-two")
    eventually(lambda: secrets() == ("two", "two"), within=30.0)


def test_a_manifest_behind_a_link_is_followed_where_it_is_edited(site: Site) -> None:
    site.source("shop")
    ports = [a_port(), a_port()]
    kept = site.root / "kept.yaml"
    kept.write_text(f"path: {site.root}/apps/shop\nport: {ports[0]}\n")
    site.manifests.mkdir(exist_ok=True)
    (site.manifests / "shop.yaml").symlink_to(kept)
    site.start()
    eventually(lambda: get(ports[0]) == "1", within=60.0)
    site.save(kept, f"path: {site.root}/apps/shop\nport: {ports[1]}\n")
    eventually(lambda: get(ports[1]) == "1", within=30.0)
