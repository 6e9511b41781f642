"""Links to apps lead where the viewer's own browser finds them, or say how to get there."""

import pytest

from reconciler.web.app_links import Link, Viewer

_FORWARD = "Reach it from your machine with ssh -L 8001:127.0.0.1:8001, or through a proxy"

_TUNNEL = "If you came through a tunnel, forward its port, too: ssh -L 8001:127.0.0.1:8001"


@pytest.mark.parametrize(
    ("viewer", "address", "link"),
    [
        # Over TCP, by the name that the viewer used, where the app listens on every address.
        ("web1.example.com", "http://0.0.0.0:8001/", Link(url="http://web1.example.com:8001/")),
        ("192.0.2.7", "http://0.0.0.0:8001/", Link(url="http://192.0.2.7:8001/")),
        ("2001:db8::7", "http://[::]:8001/", Link(url="http://[2001:db8::7]:8001/")),
        # The browser runs on this host, or at the other end of a tunnel.
        ("127.0.0.1", "http://127.0.0.1:8001/", Link(url="http://127.0.0.1:8001/", hint=_TUNNEL)),
        ("localhost", "http://127.0.0.1:8001/", Link(url="http://127.0.0.1:8001/", hint=_TUNNEL)),
        ("127.0.0.1", "http://0.0.0.0:8001/", Link(url="http://127.0.0.1:8001/", hint=_TUNNEL)),
        ("192.0.2.7", "http://127.0.0.1:8001/", Link(hint=_FORWARD)),
        ("192.0.2.7", "http://192.0.2.9:8001/", Link(url="http://192.0.2.9:8001/")),
        # Over the socket, the viewer is most likely on another machine.
        (None, "http://127.0.0.1:8001/", Link(hint=_FORWARD)),
        (None, "http://0.0.0.0:8001/", Link(hint=_FORWARD)),
        (None, "http://192.0.2.9:8001/", Link(url="http://192.0.2.9:8001/")),
        ("localhost", None, Link()),
        ("localhost", "javascript:alert(1)", Link()),
    ],
)
def test_where_a_link_leads(viewer: str | None, address: str | None, link: Link) -> None:
    assert Viewer(viewer).link(address) == link
