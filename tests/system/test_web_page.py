"""The page in a browser, from a daemon that runs apps in every state: what it shows, to whom, and that it stays text.

With RECONCILER_SCREENSHOTS=1 the pictures in docs/screenshots are taken anew.
"""

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from reconciler.control.socket import ask
from tests.support.eventually import eventually
from tests.support.ports import a_port
from tests.support.site import REPOSITORY, WSGI, Site, get
from tests.support.store import Store
from tests.support.web import axe, bearer, browser, fetch, log_in, resize, settings_with

_PICTURES = REPOSITORY / "docs" / "screenshots"
_HOSTILE = (
    "<script>document.title='pwned'</script><img src=x onerror=alert(1)>&amp; \x1b[31mred\x1b[0m \u202egnp.exe\u202c"
)
_ROLLED = "PayrollError: this Session's transaction has been rolled back by hand"
_FAILS = f"raise RuntimeError({f'{_HOSTILE} {_ROLLED}'!r})\n\ndef application(environ, start_response): ...\n"
_FAILS_LATER = f"""\
import os
if os.environ["LOG_LEVEL"] == "debug":
    raise RuntimeError('no database')
{WSGI}"""
_KEPT = {
    *(f"apps-{width}-{scheme}" for width in (1280, 390) for scheme in ("light", "dark")),
    *("apps-crashy-1280-light", "apps-blog-1280-dark", "apps-broken-1280-light", "apps-crashy-390-dark"),
    "apps-blog-stop-390-light",
    "apps-blog-390-light",
    *(
        f"{name}-{kind}"
        for name in ("apps-crashy-logs", "events", "services-files", "host")
        for kind in ("1280-light", "1280-dark", "390-light", "390-dark")
    ),
}
_SCREENS = (
    "/?q=nothing", "/apps/crashy", "/apps/blog", "/apps/broken", "/apps/wiki", "/apps/blog/stop",
    "/apps/blog/maintenance", "/apps/blog/environment", "/apps/blog/plan", "/apps/blog/releases/{revision}",
    "/apps/crashy/logs", "/apps/crashy/logs?q=the", "/events", "/events?show=all", "/services", "/services/files",
    "/services/files/backup", "/host", "/host/checks", "/nowhere", "/login?ended",
)  # fmt: skip
# Every day each screen is looked at in one of two ways, the nightly run and the pictures have all in all.
_ALL = os.environ.get("RECONCILER_TESTS") == "nightly" or bool(os.environ.get("RECONCILER_SCREENSHOTS"))
_SHOWN = """
    return Object.fromEntries([...document.querySelectorAll("#apps tbody tr")].map(
        (row) => [row.dataset.app, row.querySelector("[data-cell=state]").textContent]))
"""
_ORDER = """
    return [...document.querySelectorAll("#apps tbody tr")].map((row) => row.dataset.app)
"""
_SHIFTS = """
    const done = arguments[0];
    const found = [];
    const moved = ({node, previousRect, currentRect}) =>
        [node && (node.outerHTML || node.textContent).slice(0, 100), JSON.stringify([previousRect, currentRect])];
    new PerformanceObserver((list) => { for (const entry of list.getEntries()) found.push(entry.sources.map(moved)); })
        .observe({type: "layout-shift", buffered: true});
    requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(() => done(found))));
"""
_BACKUPS = "#backups tbody tr"
_STATES = {
    "blog": "running",
    "crashy": "failing",
    "news": "degraded",
    "archive": "sleeping",
    "legacy": "stopped",
    "wiki": "maintenance",
    "broken": "invalid",
    "shop": "pending",
    "search": "staging",
    "mail": "starting",
    "forum": "stopping",
}
# Shows what a browser sends to it.
_SPY = """\
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"cookie={environ.get('HTTP_COOKIE', '')}; referer={environ.get('HTTP_REFERER', '')}".encode()]
"""
# Its build waits, as the installation of a large package does.
_PACKAGE = """\
[build-system]
requires = []
build-backend = "waits"
backend-path = ["."]
"""
# It waits for what nobody ever writes: while it is imported, or while it answers.
_WAITS = """\
def wait():
    with open({place!r}) as fifo:
        fifo.read()

{importing}

def application(environ, start_response):
    open({place!r} + ".asked", "w").close()
    wait()
    start_response("204 No Content", [])
    return []
"""


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory, store: Store) -> Iterator[tuple[Site, int]]:
    """A daemon with an app in every state there is; those that pass are held by a FIFO nobody writes to."""
    site = Site.at(tmp_path_factory.mktemp("site"), store)
    fifo = site.root / "fifo"
    os.mkfifo(fifo)
    with contextlib.ExitStack() as stack:
        stack.callback(_let_go, fifo)  # a build that outlived its installer
        stack.callback(site.close)
        stack.callback(_let_go, fifo)
        patient: dict[str, Any] = {
            "stop_timeout": "1h",
            "health": {"start_timeout": "1h"},
            "gunicorn": {"timeout": 3600},
        }
        site.app("search")
        package = site.root / "apps" / "search" / "package"
        package.mkdir()
        site.save(package / "pyproject.toml", _PACKAGE)
        site.save(package / "waits.py", f"open({str(fifo)!r}).read()\n")
        site.save(package.with_name("requirements.txt"), "./package\n")
        site.app("shop", depends_on=["mail"])
        site.app("mail", **patient)
        site.save(site.root / "apps" / "mail" / "wsgi.py", _WAITS.format(place=str(fifo), importing="wait()"))
        forum = site.app("forum", **patient)
        site.save(site.root / "apps" / "forum" / "wsgi.py", _WAITS.format(place=str(fifo), importing=""))
        blog = site.app("blog", workers=2, env={"LOG_LEVEL": "info", "API_KEY": "do-not-show"})
        news = site.app("news", probation="0s", env={"LOG_LEVEL": "info", "API_KEY": "do-not-show"})
        site.save(site.root / "apps" / "news" / "wsgi.py", _FAILS_LATER)
        site.app("archive", start="lazy", services=["files"])
        site.save(site.manifests / "files.yaml", "kind: service\nname: files\ntype: sqlite\n")
        site.app("legacy", state="stopped")
        site.app("wiki", state="maintenance")
        site.app("crashy")
        site.save(site.root / "apps" / "crashy" / "wsgi.py", _FAILS)
        text = f"path: ../apps/blog\nname: broken\nworkers: {_quoted(_HOSTILE)}\nhealth: {{pth: /x}}\n"
        site.save(site.manifests / "broken.yaml", text.replace("\x1b", "").replace("\u202e", "").replace("\u202c", ""))
        port, settings = settings_with(site, writable=True)
        site.start("--settings", str(settings))
        site.await_settled("blog", "news", "forum")
        eventually(lambda: site.known_good("news"))
        site.manifest("news", port=news, probation="0s", env={"LOG_LEVEL": "debug", "API_KEY": "do-not-show-either"})
        visitor = stack.enter_context(socket.create_connection(("127.0.0.1", forum), timeout=60))
        visitor.sendall(b"GET / HTTP/1.1\r\nHost: forum\r\n\r\n")
        eventually(fifo.with_name("fifo.asked").exists)
        site.manifest("forum", port=forum, state="stopped", **patient)
        for _ in range(3):
            get(blog)
        ask(site.paths.control, {"do": "backup", "service": "files"})
        eventually(lambda: site.cli("verify-backup", "files").returncode == 0)
        eventually(partial(_stand, site), 90)
        yield site, port


def _stand(site: Site) -> bool:
    stands = {name: site.told(name) for name in _STATES}
    others = {name: (told["state"], told["message"]) for name, told in stands.items() if told["state"] != _STATES[name]}
    assert not others, others
    return True


def _let_go(fifo: Path) -> None:
    """Whoever reads there comes to its end."""
    with contextlib.suppress(OSError):  # nobody does
        os.close(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))


@pytest.mark.parametrize(
    ("width", "dark"),
    [
        pytest.param(1280, False, id="desktop-light"),
        pytest.param(1280, True, id="desktop-dark", marks=pytest.mark.nightly),
        pytest.param(390, False, id="phone-light", marks=pytest.mark.nightly),
        pytest.param(390, True, id="phone-dark"),
    ],
)
def test_the_page_shows_every_state_and_axe_finds_nothing(host: tuple[Site, int], width: int, dark: bool) -> None:
    site, port = host
    with browser(width, 900, dark=dark) as driver:
        page = log_in(driver, port)
        eventually(lambda: driver.execute_script(_SHOWN) == _STATES)
        _picture(driver, f"apps-{width}-{'dark' if dark else 'light'}", width)
        assert axe(driver) == []
        assert driver.execute_script("return document.documentElement.scrollWidth") <= width
        for screen in _SCREENS if _ALL else _SCREENS[dark::2]:
            path = screen.format(revision=site.told("blog")["revision"])
            driver.get(f"{page if path != '/login?ended' else page.partition('/s/')[0]}{path}")
            if path in {"/apps/crashy", "/apps/blog"}:
                eventually(partial(_says_of_the_plan, driver, "Nothing"))
            _picture(
                driver,
                f"{path.partition('?')[0].strip('/').replace('/', '-')}-{width}-{'dark' if dark else 'light'}",
                width,
            )
            assert axe(driver) == [], path
            assert driver.execute_script("return document.documentElement.scrollWidth") <= width, path
        complaints = [
            e for e in driver.get_log("browser") if "Security Policy" in e["message"] or "TypeError" in e["message"]
        ]
        assert complaints == []


def test_the_page_is_live_without_being_loaded_again(host: tuple[Site, int]) -> None:
    site, port = host
    with browser() as driver:
        log_in(driver, port)
        eventually(lambda: driver.find_elements("css selector", "tr[data-app=blog]"))
        driver.execute_script("window.same = true")
        site.app("shop")
        eventually(lambda: driver.execute_script(_SHOWN).get("shop") == "running")
        (site.manifests / "shop.yaml").unlink()
        eventually(lambda: "shop" not in driver.execute_script(_SHOWN))
        site.app("shop", depends_on=["mail"])  # as it was: the host is shared
        eventually(lambda: driver.execute_script(_SHOWN) == _STATES)
        assert driver.execute_script("return window.same")


@pytest.mark.parametrize("width", [1280, 390], ids=["desktop", "phone"])
def test_nothing_moves_while_the_first_page_becomes_live(site: Site, width: int) -> None:
    port, settings = settings_with(site)
    site.app("archive", start="lazy")
    site.app("blog")
    site.start("--settings", str(settings))
    site.await_settled("blog")
    with browser(width) as driver:
        log_in(driver, port)
        cpu = "return document.querySelector('tr[data-app=blog] [data-cell=cpu]').textContent"
        eventually(lambda: driver.execute_script(cpu).endswith("%"))
        assert driver.find_elements("css selector", "tr[data-app=blog] [data-spark=memory_line]")
        assert driver.execute_async_script(_SHIFTS) == []


def test_all_of_many_apps_are_reached_by_keys_by_words_and_without_scripts(site: Site) -> None:
    from selenium.webdriver.common.keys import Keys

    port, settings = settings_with(site)
    names = [f"app-{number:03}" for number in range(120)]
    for name in names:
        site.source(name)
        site.manifest(name, state="stopped", port=a_port())
    site.start("--settings", str(settings))
    eventually(lambda: fetch(port, "/api/v1/apps", headers=bearer()).body.count('"state": "stopped"') == 120, 60)
    with browser() as driver:
        log_in(driver, port)
        body = driver.find_element("tag name", "body")
        eventually(lambda: len(driver.execute_script(_SHOWN)) == 120)
        body.send_keys(Keys.ARROW_UP)  # of none before: the last one
        last = driver.switch_to.active_element
        assert last.text == names[-1]
        place = driver.execute_script("return arguments[0].getBoundingClientRect().top", last)
        assert 0 < place < 900
        last.send_keys(Keys.ARROW_UP)
        assert driver.switch_to.active_element.text == names[-2]
        body.send_keys("/")
        driver.switch_to.active_element.send_keys("app-11")
        found = "return [...document.querySelectorAll('#apps tbody tr')].filter((row) => !row.hidden).length"
        eventually(lambda: driver.execute_script(found) == 10)
    with browser(scripts=False) as driver:
        page = log_in(driver, port)
        for query, expected in (("", names), ("?sort=-app", names[::-1]), ("?q=app-11", names[110:])):
            driver.get(f"{page}/{query}")
            eventually(partial(_lists_apps, driver, expected))


def test_what_is_pending_is_told_field_by_field(host: tuple[Site, int]) -> None:
    site, port = host
    told = site.cli("plan", "news", "--diff").stdout
    assert "    env.LOG_LEVEL: info → debug\n" in told
    assert "    env.API_KEY: ••• → •••\n" in told
    assert "which serves:" in told
    (plan,) = fetch(port, "/api/v1/plan/news", headers=bearer()).json["apps"]
    assert {"field": "env.LOG_LEVEL", "before": "info", "after": "debug"} in plan["changes"]
    assert plan["unlike_revision"] == site.told("news")["revision"]
    for scripts in (True, False):
        with browser(390, scripts=scripts) as driver:
            page = log_in(driver, port)
            eventually(partial(driver.find_elements, "id", "apps"))
            driver.get(f"{page}/apps/news{'' if scripts else '/plan'}")
            eventually(partial(_says_of_the_plan, driver, "LOG_LEVEL"))
            before = driver.find_elements("css selector", "#plan del bdi")
            after = driver.find_elements("css selector", "#plan ins bdi")
            fields = driver.find_elements("css selector", "#plan .diff code")
            found = {f.text: (b.text, a.text) for f, b, a in zip(fields, before, after, strict=True)}
            assert found["env.LOG_LEVEL"] == ("info", "debug")
            assert found["env.API_KEY"] == ("•••", "•••")
            assert "do-not-show" not in driver.page_source


def test_what_hosts_and_apps_say_stays_text(host: tuple[Site, int]) -> None:
    site, port = host
    log = site.paths.log("crashy", "app")
    with log.open("a") as file:
        file.write(f"{_HOSTILE}\u2028\u200f\n")
    with browser() as driver:
        page = log_in(driver, port)
        for path in ("/", "/apps/crashy", "/apps/broken"):
            driver.get(f"{page}{path}")
            body = driver.find_element("tag name", "body")
            eventually(partial(_says, body, "<script>document.title"))
            assert driver.title.startswith(("Apps", "crashy", "broken"))
            assert not driver.find_elements("css selector", "img")
            assert not any(c in driver.page_source for c in "\x1b\u202e\u202c\u2028\u200f")
        driver.get(f"{page}/apps/crashy")
        # The log is fetched again by the page's own program, which must not be fooled either.
        followed = "return document.querySelector('#log').textContent"
        eventually(lambda: "\\u2028\\u200f" in driver.execute_script(followed))
        assert "red \\u202egnp.exe" in driver.execute_script(followed)  # colours are left out of the short log
        driver.get(f"{page}/apps/crashy/logs")
        eventually(lambda: "red \\u202egnp.exe" in driver.execute_script(followed))
        assert "Traceback" not in driver.execute_script(followed)
        driver.get(f"{page}/apps/crashy/logs?show=written")
        eventually(lambda: "\\x1b[31mred\\x1b[0m \\u202egnp.exe" in driver.execute_script(followed))
        assert "Traceback" in driver.execute_script(followed)
        driver.get(f"{page}/apps/blog")
        assert "do-not-show" not in driver.page_source
        assert "LOG_LEVEL" in driver.page_source
    assert "\x1b" not in fetch(site.paths.api, "/apps/crashy").body


def test_a_message_about_a_rollback_is_neither_a_rollback_nor_a_stop(host: tuple[Site, int]) -> None:
    _, port = host
    with browser(scripts=False) as driver:
        page = log_in(driver, port)
        driver.get(f"{page}/apps/crashy")
        assert _ROLLED in driver.find_element("css selector", "[data-cell=message]").text
        offered = [link.text for link in driver.find_elements("css selector", ".actions a")]
        assert offered == ["Restart", "Roll back", "Stop", "Begin maintenance", "Retry"]
        assert driver.find_elements("css selector", ".timeline .k-failure")
        assert not driver.find_elements("css selector", ".timeline .k-rollback")


def test_without_scripts_everything_can_be_read_and_done(host: tuple[Site, int]) -> None:
    site, port = host
    with browser(scripts=False) as driver:
        page = log_in(driver, port)
        assert driver.find_element("css selector", "tr[data-app=blog] [data-cell=state]").text == "running"
        assert driver.find_elements("css selector", "meta[http-equiv=refresh]")
        assert eventually(partial(_failing, driver, page)) == ["crashy"]  # while it is tried again, it is starting
        driver.get(f"{page}/apps/blog")
        assert "Booting worker" in driver.find_element("id", "log").text
        assert driver.find_elements("css selector", ".timeline .p-serving")
        before = site.pid("blog")
        driver.find_element("link text", "Restart").click()
        driver.find_element("css selector", "main form button").click()
        (done,) = eventually(partial(driver.find_elements, "css selector", ".done"))
        assert "restarting; the current instance serves" in done.text
        site.await_successor("blog", before)
        driver.get(f"{page}/apps/blog/plan")
        assert "up to date" in driver.find_element("id", "plan").text
        driver.get(f"{page}/services/files")
        before = len(driver.find_elements("css selector", _BACKUPS))
        driver.find_element("link text", "Back up now").click()
        driver.find_element("css selector", "main form button").click()
        (done,) = eventually(partial(driver.find_elements, "css selector", ".done"))
        assert "files: backing up" in done.text
        eventually(partial(_lists_backups, driver, before + 1))


def _failing(driver: Any, page: str) -> list[str]:
    driver.get(f"{page}/?state=failing")
    return [row.get_attribute("data-app") for row in driver.find_elements("css selector", "#apps tbody tr")]


def test_the_keyboard_reaches_everything_and_shows_where_it_is(host: tuple[Site, int]) -> None:
    _, port = host
    with browser() as driver:
        log_in(driver, port)
        from selenium.webdriver.common.keys import Keys

        reached = []
        for _ in range(40):
            driver.switch_to.active_element.send_keys(Keys.TAB)
            now = driver.switch_to.active_element
            outline = driver.execute_script("return getComputedStyle(arguments[0]).outlineStyle", now)
            assert outline != "none", now.get_attribute("outerHTML")
            reached.append(now.text or now.get_attribute("id"))
        assert reached[0] == "Skip to content"
        assert {"Log out", "q"} <= set(reached)
        assert any("crashy" in each for each in reached)


def test_the_arrows_move_from_app_to_app_and_what_is_typed_is_kept_in_the_address(host: tuple[Site, int]) -> None:
    _, port = host
    with browser() as driver:
        page = log_in(driver, port)
        from selenium.webdriver.common.keys import Keys

        eventually(lambda: driver.execute_script(_SHOWN) == _STATES)
        body, find = driver.find_element("tag name", "body"), driver.find_element("id", "q")
        body.send_keys("?")
        assert driver.find_element("id", "keys").is_displayed()
        driver.switch_to.active_element.send_keys(Keys.ESCAPE)
        body.send_keys("/")
        assert driver.switch_to.active_element == find
        find.send_keys("blog")
        eventually(lambda: driver.current_url == f"{page}/?q=blog")
        memory = driver.find_element("partial link text", "Memory")
        assert memory.get_attribute("href") == f"{page}/?sort=-memory&q=blog"
        find.send_keys(Keys.ARROW_DOWN)
        driver.switch_to.active_element.send_keys(Keys.ENTER)
        eventually(lambda: driver.current_url == f"{page}/apps/blog")
        driver.get(f"{page}/?sort=-app")
        eventually(lambda: driver.execute_script(_ORDER) == sorted(_STATES, reverse=True))
        driver.get(f"{page}/events")
        assert axe(driver) == []
        driver.find_element("css selector", "#events summary").click()
        assert driver.find_element("css selector", "#events details[open] li .kind").is_displayed()


def test_an_app_of_the_same_host_receives_nothing_of_a_session(site: Site) -> None:
    port, settings = settings_with(site, writable=True)
    spy = site.app("spy")
    site.save(site.root / "apps" / "spy" / "wsgi.py", _SPY)
    site.start("--settings", str(settings))
    site.await_settled("spy")
    with browser() as driver:
        page = log_in(driver, port)
        kept = {each["name"]: each["value"] for each in driver.get_cookies()}
        assert list(kept) == ["reconciler"]
        driver.get(f"{page}/apps/spy")
        address = driver.find_element("css selector", "a.url")
        assert address.get_attribute("rel") == "noreferrer noopener"
        driver.execute_script("arguments[0].click()", address)
        eventually(lambda: driver.find_element("tag name", "body").text.startswith("cookie="))
        for path in ("/", "/apps/spy", "/s/", "/login"):
            driver.get(f"http://127.0.0.1:{spy}{path}")
            received = driver.find_element("tag name", "body").text
            assert received == "cookie=; referer=", path
        # The plain address leads back to the session, whose path this browser alone remembers.
        driver.get(f"http://127.0.0.1:{port}/apps/spy")
        eventually(lambda: driver.current_url == f"{page}/apps/spy")
        driver.find_element("css selector", "form.out button").click()
        eventually(lambda: driver.current_url.endswith("/login?ended"))
        driver.get(f"http://127.0.0.1:{port}/")
        eventually(lambda: driver.current_url.endswith("/login"))
        base = page.removeprefix(f"http://127.0.0.1:{port}")
        stolen = {"Cookie": f"reconciler={kept['reconciler']}"}
        assert fetch(port, f"{base}/api/v1/apps", headers=stolen).status == 401


def _lists_apps(driver: Any, names: list[str]) -> bool:
    rows = "return [...document.querySelectorAll('#apps tbody tr')].map((row) => row.dataset.app)"
    return bool(driver.execute_script(rows) == names)


def _lists_backups(driver: Any, count: int) -> bool:
    driver.refresh()
    return len(driver.find_elements("css selector", _BACKUPS)) == count


def _says_of_the_plan(driver: Any, text: str) -> bool:
    return text in driver.page_source.partition('id="plan"')[2].partition("</section>")[0]


def _says(place: Any, text: str) -> bool:
    return text in place.text


def _picture(driver: Any, name: str, width: int) -> None:
    if not os.environ.get("RECONCILER_SCREENSHOTS") or name not in _KEPT:
        return
    if name.startswith("host"):
        eventually(lambda: driver.find_elements("css selector", "#checks li"), 60)
    time.sleep(1.5)
    height = min(driver.execute_script("return document.documentElement.scrollHeight"), 1100 if width > 500 else 1600)
    resize(driver, width, height)
    time.sleep(0.3)
    _PICTURES.mkdir(exist_ok=True)
    driver.save_screenshot(str(_PICTURES / f"{name}.png"))
    resize(driver, width, 900)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
