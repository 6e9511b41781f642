"""Which upstreams the file of a proxy names: a whole address, and no part of another."""

import pytest

from reconciler.planning.routing.file_formats import text_of
from reconciler.planning.routing.route import Front, Route
from reconciler.planning.routing.routing import Routing
from reconciler.routing.world import _is_dialled_in


def text(format_name: str, upstream: str) -> str:
    route = Route(app="shop", routing=Routing(domains=("shop.example.com",)), upstream=upstream, key="k" * 32)
    return text_of(format_name, (route,), Front())


@pytest.mark.parametrize("name", ["nginx", "haproxy", "traefik"])
@pytest.mark.parametrize("upstream", ["127.0.0.1:12345", "[::1]:12345"])
def test_a_port_is_dialled_and_none_that_begins_like_it(name: str, upstream: str) -> None:
    written = text(name, upstream)
    assert _is_dialled_in(written, upstream)
    for other in (upstream[:-1], upstream.replace("127", "27"), upstream.removeprefix("[")):
        assert other == upstream or not _is_dialled_in(written, other)


@pytest.mark.parametrize("name", ["nginx", "haproxy"])
def test_a_socket_is_dialled_and_none_whose_path_is_a_part_of_its(name: str) -> None:
    written = text(name, "unix//srv/sockets/shop.sock")
    assert _is_dialled_in(written, "/srv/sockets/shop.sock")
    for other in ("/srv/sockets/shop", "/sockets/shop.sock", "/srv/sockets/shop.soc"):
        assert not _is_dialled_in(written, other)
