"""Who a client is, for every server of Python behind a Caddy that has a balancer or a CDN before it, or none."""

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from http.client import HTTPConnection
from typing import Any

import pytest

from tests.support.asgi import LIFESPAN
from tests.support.eventually import eventually
from tests.support.hosts import explained
from tests.support.ports import a_port
from tests.support.proxies import CADDIES, ask, kept_proxy, needs_caddy, version
from tests.support.site import Site
from tests.support.store import Store

pytestmark = [pytest.mark.system, pytest.mark.nightly, needs_caddy]

WSGI = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    said = environ["REMOTE_ADDR"], environ["wsgi.url_scheme"], environ.get("HTTP_X_FORWARDED_FOR", "-")
    return [" ".join(said).encode()]
"""
ASGI = (
    LIFESPAN
    + """\
    said = dict(scope["headers"]).get(b"x-forwarded-for", b"-").decode()
    said = f"{(scope['client'] or ('-',))[0]} {scope['scheme']} {said}"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": said.encode()})
"""
)


@pytest.fixture
def site(tmp_path_factory: pytest.TempPathFactory, store: Store, request: pytest.FixtureRequest) -> Iterator[Site]:
    """A site with a short path, which leaves room for the name of a socket."""
    yield from explained(Site.at(tmp_path_factory.mktemp("s"), store), request)


SERVERS: dict[str, dict[str, Any]] = {
    "wsgi": {"entrypoint": "wsgi:application"},
    "asgi": {"entrypoint": "asgi:app"},
    "uvicorn's worker": {"entrypoint": "asgi:app", "worker_class": "uvicorn.workers.UvicornWorker"},
    "uvicorn": {"command": "uvicorn asgi:app --fd 3", "listen": "descriptor"},
    "uvicorn at a socket": {"command": "uvicorn asgi:app --uds $SOCKET", "listen": "socket"},
    "uvicorn at a port": {"command": "uvicorn asgi:app --host $HOST --port $PORT", "listen": "port"},
}


@pytest.mark.parametrize("program", CADDIES, ids=lambda program: ".".join(map(str, version(program))))
@pytest.mark.parametrize(
    "server", [pytest.param(name, marks=pytest.mark.network) if "uvicorn" in name else name for name in SERVERS]
)
@pytest.mark.parametrize("at_port", [False, True])
def test_only_what_a_trusted_network_says_of_its_clients_is_believed_from_the_right(
    site: Site, program: str, server: str, at_port: bool
) -> None:
    proxy = kept_proxy(program)
    site.source("shop").joinpath("wsgi.py").unlink()
    module = "wsgi" if server == "wsgi" else "asgi"
    site.save(site.root / f"apps/shop/{module}.py", WSGI if server == "wsgi" else ASGI)
    if "uvicorn" in server:
        site.save(site.root / "apps/shop/requirements.txt", "uvicorn\n")
    more = {"port": a_port()} if at_port else {}
    site.manifest("shop", domains=["shop.localhost"], **SERVERS[server], **more)
    https = proxy.front.https
    hops = {"X-Forwarded-For": "6.6.6.6, 9.9.9.9, 127.0.0.7", "X-Forwarded-Proto": "http"}
    at_socket = "$SOCKET" in SERVERS[server].get("command", "")  # where uvicorn sees no address that it could believe
    direct = "- http 127.0.0.1" if at_socket and at_port else "127.0.0.1 https 127.0.0.1"
    daemon = site.live(proxy=proxy)
    eventually(lambda: met(https) == direct, 120)
    assert met(https, hops) == direct
    site.end(daemon)
    site.live(proxy=replace(proxy, front=replace(proxy.front, trusted=("127.0.0.0/8",))))
    site.save(site.root / "apps/shop/more.py", "")  # an instance of before believes what it believed
    if at_socket:
        believed = "- http 9.9.9.9"
    elif version(program) >= (2, 8):
        believed = "9.9.9.9 http 9.9.9.9"
    else:  # a Caddy that knows no client passes on the whole chain, from which uvicorn takes the right-most
        believed = "127.0.0.7 http 9.9.9.9" if "command" in SERVERS[server] else "127.0.0.1 http 9.9.9.9"
    if version(program) < (2, 8):
        believed = believed.replace("9.9.9.9", "6.6.6.6, 9.9.9.9, 127.0.0.7,")
    eventually(lambda: met(https, hops).startswith(believed), 60)


@pytest.mark.network
@pytest.mark.parametrize("server", ["uvicorn", "uvicorn at a socket", "uvicorn at a port"])
def test_a_client_of_the_port_beside_is_not_believed(site: Site, server: str) -> None:
    site.source("shop").joinpath("wsgi.py").unlink()
    site.save(site.root / "apps/shop/asgi.py", ASGI)
    site.save(site.root / "apps/shop/requirements.txt", "uvicorn\n")
    proxy, port = kept_proxy(CADDIES[0]), a_port()
    site.manifest("shop", domains=["shop.localhost"], port=port, host="0.0.0.0", **SERVERS[server])
    site.live(proxy=proxy)
    eventually(lambda: met(proxy.front.https).endswith(" 127.0.0.1"), 120)
    with closing(HTTPConnection("127.0.0.1", port, timeout=60)) as client:
        client.request("GET", "/", headers={"X-Forwarded-For": "6.6.6.6", "X-Forwarded-Proto": "https"})
        told = client.getresponse().read().decode()
    seen = "-" if "socket" in server else "127.0.0.2"
    assert told.split()[:2] == [seen, "http"]


@pytest.mark.parametrize(
    "server", [pytest.param(name, marks=pytest.mark.network) if "uvicorn" in name else name for name in SERVERS]
)
def test_a_client_of_the_port_beside_the_socket_is_not_believed(site: Site, server: str) -> None:
    proxy = kept_proxy()
    site.source("shop").joinpath("wsgi.py").unlink()
    module = "wsgi" if server == "wsgi" else "asgi"
    site.save(site.root / f"apps/shop/{module}.py", WSGI if server == "wsgi" else ASGI)
    if "uvicorn" in server:
        site.save(site.root / "apps/shop/requirements.txt", "uvicorn\n")
    port = a_port()
    site.manifest("shop", domains=["shop.localhost"], port=port, **SERVERS[server])
    site.live(proxy=proxy)
    eventually(lambda: met(proxy.front.https), 120)
    forged = {"X-Forwarded-For": "6.6.6.6", "X-Forwarded-Proto": "https"}
    status, said, _ = ask("shop.localhost", port, tls=False, headers=forged)
    client, scheme, _ = said.split()
    assert (status, scheme) == (200, "http")
    assert client in {"-", "127.0.0.1", "127.0.0.2"}


BARE = """
import os
from wsgiref.simple_server import make_server
NAMES = "HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_PROTO", "HTTP_X_FORWARDED_SSL", "HTTP_SCRIPT_NAME"
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [" ".join(environ.get(name, "-") for name in NAMES).encode()]
make_server("127.0.0.1", int(os.environ["PORT"]), application).serve_forever()
"""


@pytest.mark.parametrize("program", CADDIES, ids=lambda program: ".".join(map(str, version(program))))
def test_a_server_that_takes_underscores_for_dashes_gets_no_forwarding_header_with_them(
    site: Site, program: str
) -> None:
    proxy = kept_proxy(program)
    site.source("shop").joinpath("wsgi.py").unlink()
    site.save(site.root / "apps/shop/app.py", BARE)
    site.manifest("shop", domains=["shop.localhost"], command=["python3", "app.py"])
    site.live(proxy=proxy)
    eventually(lambda: met(proxy.front.https) == "127.0.0.1 https - -", 60)
    forged = {"X_Forwarded_For": "6.6.6.6", "X-Forwarded_Proto": "http", "X-Forwarded-Ssl": "off", "SCRIPT_NAME": "/x"}
    assert met(proxy.front.https, forged) == "127.0.0.1 https - -"


def met(port: int, headers: Mapping[str, str] | None = None) -> str:
    """What the app makes of a request through the proxy."""
    status, body, _ = ask("shop.localhost", port, headers=headers)
    assert status == 200, body
    return body
