"""Whose forwarding headers a program in place of gunicorn is to believe."""

import pytest

from reconciler.planning.address import Address
from reconciler.planning.apps.code_commands import Listen
from reconciler.serving.programs.command import believed_clients

SOCKET, LOCAL, OPEN = Address(host="/s/shop.sock"), Address(host="127.0.0.1", port=8001), Address(host="::", port=8001)


@pytest.mark.parametrize(
    ("listen", "addresses", "names_client", "believed"),
    [
        ("socket", (SOCKET,), True, "*"),
        ("socket", (SOCKET,), False, None),
        ("socket", (SOCKET, LOCAL), True, None),  # clients of the port are at the program's socket, too
        ("socket", (SOCKET, OPEN), True, None),
        ("socket", (LOCAL,), True, None),
        ("socket", (), True, None),
        ("port", (SOCKET,), True, None),
        ("port", (SOCKET, LOCAL), True, None),
        ("port", (LOCAL,), False, None),
        ("port", (SOCKET, OPEN), True, ""),  # all of them come from the forwarder, at 127.0.0.1
        ("port", (OPEN,), False, ""),
        ("descriptor", (SOCKET, LOCAL), True, None),
        ("descriptor", (OPEN,), False, ""),
    ],
)
def test_a_client_that_could_lie_about_its_address_is_not_believed(
    listen: Listen, addresses: tuple[Address, ...], names_client: bool, believed: str | None
) -> None:
    assert believed_clients(addresses, listen, names_client=names_client) == believed


@pytest.mark.parametrize(
    ("address", "is_local"),
    [
        ("127.0.0.1:1", True),
        ("127.8.0.1:1", True),
        ("localhost:1", True),
        ("[::1]:1", True),
        ("[0:0::1]:1", True),
        ("0.0.0.0:1", False),
        ("[::]:1", False),
        ("10.0.0.1:1", False),
    ],
)
def test_an_address_is_local_if_only_this_host_reaches_it(address: str, is_local: bool) -> None:
    assert Address.of_port(address).is_local is is_local
