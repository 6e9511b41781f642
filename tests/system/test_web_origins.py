"""The pages about origins in git, from a daemon that follows one: its commits, and why the newest is not in force."""

import json
from contextlib import closing
from pathlib import Path

import pytest

from reconciler.manifests.persisted import remember_origins
from reconciler.state.records import Records
from reconciler.state.schema import open_database
from tests.support.eventually import eventually
from tests.support.repository import Repository
from tests.support.site import WSGI, Site
from tests.support.web import axe, bearer, browser, fetch, log_in, settings_with

HOSTILE = "<script>document.title='pwned'</script>"
PAGES = ("/", "/origins", "/origins/fleet", "/events")


@pytest.fixture
def host(site: Site) -> tuple[Site, int, str, str]:
    """A daemon whose origin has a good commit in force, and a newer one that is refused."""
    repository = Repository.at(site.root)
    port, file = settings_with(site)
    (site.root / "hook").write_text("a long random word for the hook")
    options = {"url": str(repository.bare), "signed": "no", "every": "1h", "webhook": {"secret": {"file": "hook"}}}
    settings = json.loads(file.read_text()) | {
        "git": {"repositories": {"fleet": options}, "host": "web1"},
        "origins": {"fleet": {"repository": "fleet", "branch": "main", "path": ["hosts/web1"]}},
    }
    file.write_text(json.dumps(settings))
    manifest = "path: ../../apps/shop\nprobation: 0s\n"
    files = {"hosts/web1/shop.yaml": manifest, "apps/shop/wsgi.py": WSGI.replace("{version}", "1")}
    good = repository.push(files, f"Add the shop {HOSTILE}")
    site.start("--settings", str(file))
    site.await_settled("shop")
    eventually(lambda: origin(site)["good"] == good)
    bad = repository.push({"hosts/web1/shop.yaml": f"{manifest}wrokers: 2\n"}, "Scale the shop")
    assert site.cli("git", "pull", "--wait").returncode == 1
    return site, port, good, bad


def origin(site: Site) -> dict[str, object]:
    (found,) = json.loads(site.cli("git", "--json").stdout)
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize(
    ("width", "dark"),
    [
        pytest.param(1280, False, id="desktop-light"),
        pytest.param(1280, True, id="desktop-dark", marks=pytest.mark.nightly),
        pytest.param(390, False, id="phone-light", marks=pytest.mark.nightly),
        pytest.param(390, True, id="phone-dark", marks=pytest.mark.nightly),
    ],
)
def test_an_origin_is_shown_with_its_commits_and_why_the_newest_is_not_in_force(
    host: tuple[Site, int, str, str], width: int, dark: bool, tmp_path: Path
) -> None:
    _, port, good, bad = host
    with browser(width, 900, dark=dark) as driver:
        page = log_in(driver, port)
        for path in PAGES:
            driver.get(f"{page}{path}")
            assert axe(driver) == [], path
            assert driver.execute_script("return document.documentElement.scrollWidth") <= width, path
            assert driver.title != "pwned"
            driver.save_screenshot(str(tmp_path / f"{path.replace('/', '-')}.png"))
        driver.get(f"{page}/origins/fleet")
        text = driver.find_element("tag name", "main").text
        for told in (
            "refused", "fleet/hosts/web1/shop.yaml:3:1: wrokers: unknown field 'wrokers'", "branch main", "hosts/web1",
            "not required: every user who can push", "never called", good[:7], f"Add the shop {HOSTILE}", bad[:7],
            "Scale the shop", "1 commit not in force",
        ):  # fmt: skip
            assert told in text, told
        driver.get(f"{page}/")
        link = driver.find_element("css selector", "#refused a")
        assert (link.text, link.get_attribute("href")) == ("fleet", f"{page}/origins/fleet")
        complaints = [each for each in driver.get_log("browser") if "Security Policy" in each["message"]]
        assert complaints == []


def test_a_host_without_an_origin_has_no_place_for_them_and_an_unknown_one_is_not_found(site: Site) -> None:
    port, file = settings_with(site)
    site.start("--settings", str(file))
    eventually(lambda: fetch(site.paths.api, "/origins").status == 200)
    page = fetch(site.paths.api, "/origins")
    assert "All manifests come from a directory of this host" in page.body
    assert 'href="/origins"' not in page.body
    assert fetch(site.paths.api, "/origins/fleet").status == 404
    assert fetch(port, "/api/v1/origins", headers=bearer()).json == {"origins": []}


def test_what_an_app_takes_its_source_from_has_a_page_whatever_its_name(site: Site) -> None:
    site.start()
    name, commit = "shop-code@feature/x", "4f1c1d5c0c2f6a3fdc7c1dbb0d5fd9d4c9a2d7be"
    commits = dict.fromkeys(("head", "accepted", "in_force", "good"), commit)
    facts = {
        "kind": "source", "name": name, "repository": "shop-code", "branch": "feature/x", "tags": "", "commit": "",
        "tag": "", "paths": ["web"], "state": "current", "message": "", "since": None, "heard_at": None,
        "signed": "every", "signed_by": "alice@example.com", "subjects": {commit: "Answer 2"}, **commits,
    }  # fmt: skip
    eventually(lambda: fetch(site.paths.api, "/origins").status == 200)
    with closing(open_database(site.paths.database)) as database:
        remember_origins(Records(database), [facts])
    eventually(lambda: 'href="/origins/shop-code%40feature/x"' in fetch(site.paths.api, "/origins").body)
    page = fetch(site.paths.api, "/origins/shop-code%40feature/x")
    assert page.status == 200
    assert "where sources of apps come from" in page.body
    assert "alice@example.com" in page.body
