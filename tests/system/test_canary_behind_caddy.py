"""Through a proxy, a canary gets its share of requests, however clients keep their connections."""

import http.client
import math
import shutil
import subprocess
import threading
from collections import Counter
from pathlib import Path

import pytest

from tests.support.canaries import is_canary, save
from tests.support.eventually import eventually
from tests.support.proxies import ask, connected, hang_up, kept_proxy, needs_caddy
from tests.support.site import Site

pytestmark = [pytest.mark.system, pytest.mark.nightly, needs_caddy]

NAME, CLIENTS, REQUESTS = "shop.localhost", 8, 10_000


def test_kept_connections_and_http_2_give_a_canary_its_share_of_requests(site: Site, tmp_path: Path) -> None:
    save(site, "1")
    fields = {"domains": [NAME], "tls": "internal", "workers": 4, "probation": "0s"}
    site.manifest("shop", canary={"share": "20%", "for": "1h"}, **fields)
    proxy = kept_proxy()
    site.live(proxy=proxy)
    https = proxy.front.https
    eventually(lambda: ask(NAME, https)[:2] == (200, "1"), 60)
    site.await_settled("shop")
    save(site, "2")
    eventually(lambda: is_canary(site), 60)
    for how, seen in (("HTTP/1.1", _kept(https)), ("HTTP/2", _over_http_2(https, tmp_path))):
        share, number = seen["2"] / sum(seen.values()), sum(seen.values())
        print(f"{how}: {share:.2%} of {number} requests")
        assert set(seen) == {"1", "2"}
        assert abs(share - 0.2) <= 0.02
        assert 5 * math.sqrt(0.2 * 0.8 / number) <= 0.02, "so many that chance makes no difference"


def _kept(https: int) -> Counter[str]:
    """Ask on as many connections as there are clients, each of which is kept."""
    seen: Counter[str] = Counter()

    def client() -> None:
        connection, line = http.client.HTTPConnection(NAME, https, timeout=30), connected(NAME, https)
        connection.sock = line
        for _ in range(REQUESTS // CLIENTS):
            connection.request("GET", "/", headers={"Host": NAME})
            seen[connection.getresponse().read().decode()] += 1
        hang_up(connection, line)

    threads = [threading.Thread(target=client) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(seen.values()) == REQUESTS
    return seen


def _over_http_2(https: int, place: Path) -> Counter[str]:
    """Ask on one connection over HTTP/2, several requests at a time."""
    curl = shutil.which("curl")
    if curl is None or "HTTP2" not in subprocess.run([curl, "-V"], capture_output=True, text=True, check=True).stdout:
        pytest.skip("no curl that speaks HTTP/2")
    words = [curl, "-sSk", "--http2", "--parallel", "--parallel-max", "8", "-w", "%{http_version}\n"]
    words += ["--resolve", f"{NAME}:{https}:127.0.0.1", "-o", str(place / "answer-#1")]
    words += [f"https://{NAME}:{https}/[1-{REQUESTS}]"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-500:]
    assert set(done.stdout.split()) == {"2"}
    return Counter(file.read_text() for file in place.glob("answer-*"))
