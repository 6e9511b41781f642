"""Each link that `make run` prints, opened in Chromium: it answers over TLS, and what it shows is in order."""

import re
import shutil
import socket
import ssl
from pathlib import Path

import pytest

from tests.support.eventually import eventually
from tests.support.proxies import needs_caddy
from tests.support.site import REPOSITORY, Site
from tests.support.web import axe, browser, resize
from tests.system.test_domains_in_a_browser import key_of

pytestmark = [pytest.mark.system, pytest.mark.nightly, pytest.mark.network, needs_caddy]

PORTS = (8080, 8443)  # of `reconciler run --localhost`
_WIDER = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
_STATUS = "return performance.getEntriesByType('navigation')[0].responseStatus"
_LOADED = "return document.readyState == 'complete'"


def is_free(port: int) -> bool:
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def write_samples(site: Site) -> set[str]:
    """The manifests of `make run`, with the sample in Node.js where that is installed; returns the apps' names."""
    files = [file for file in (REPOSITORY / "manifests").glob("*.yaml") if not file.is_symlink()]
    if shutil.which("node", path="/usr/local/bin:/usr/bin:/bin"):
        files.append(REPOSITORY / "examples/dice/dice.yaml")
    for file in files:
        text = file.read_text().replace("../examples", str(REPOSITORY / "examples"))
        site.save(site.manifests / file.name, text)
    return {file.stem for file in files if "kind: service" not in file.read_text()}


def test_each_link_that_make_run_prints_answers_in_chromium_and_its_page_is_in_order(site: Site) -> None:
    if taken := [port for port in PORTS if not is_free(port)]:
        pytest.skip(f"another program has port {taken[0]}, at which `make run` serves its samples")
    assert "reconciler run --page --localhost " in (REPOSITORY / "Makefile").read_text()
    samples = write_samples(site)
    site.execute("--page", "--localhost")
    (page,) = eventually(lambda: re.findall(r"page: (http://\S+);", site.console.read_text()), 300)
    printed = site.console.read_text()
    links = re.findall(r"running at (\S+)", printed)
    assert {*links} == {f"https://{name}.localhost:8443/" for name in samples}
    root = Path(re.findall(r"until they trust (\S+)", printed)[0])
    trusting = ssl.create_default_context(cafile=str(root))
    with (
        socket.create_connection(("127.0.0.1", 8443), 10) as line,
        trusting.wrap_socket(line, server_hostname="hello.localhost"),
    ):
        pass  # the file that is printed is the one by which the certificate is trusted

    for dark in (False, True):
        with browser(dark=dark, trusted=(key_of(root.parent / "intermediate.crt"),)) as driver:
            for link in links:
                for width in (1280, 390):
                    resize(driver, width, 900)
                    driver.get(link)
                    eventually(lambda driver=driver: driver.execute_script(_LOADED))  # type: ignore[misc]
                    assert (driver.current_url, driver.execute_script(_STATUS)) == (link, 200)
                    assert driver.execute_script("return window.isSecureContext")
                    assert driver.title
                    assert driver.execute_script(_WIDER) <= 0, (link, width)
                    assert axe(driver) == [], (link, width, dark)
            assert [each for each in driver.get_log("browser") if each["level"] == "SEVERE"] == []
    with browser() as driver:
        driver.get(links[0])
        assert driver.execute_script("return location.protocol") == "chrome-error:"  # of which the daemon has warned
        driver.get(site.cli("page").stdout.strip())
        assert driver.current_url.startswith(page)
        rows = driver.find_elements("css selector", "[data-name]")
        eventually(lambda: {each.text for each in rows} == samples)
        direct = {each.get_attribute("href") for each in driver.find_elements("css selector", "a.url[href]")}
        assert len(direct) == len(samples)
        for each in direct:
            driver.get(each)
            assert driver.execute_script(_STATUS) == 200, each
