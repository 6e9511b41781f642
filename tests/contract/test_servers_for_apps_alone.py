"""Servers that apps reach at another address than this host, which cannot try what they are given."""

import asyncio
import socket
from typing import Any

import pytest

from reconciler.services.provisioner import Server
from reconciler.services.server_connection import is_for_apps_alone
from tests.support.ports import a_port


def is_so(own: int, apps: int, host: str = "127.0.0.1", **options: Any) -> bool:
    server = Server(name="main", type="postgresql", port=own, options=options)
    return asyncio.run(is_for_apps_alone(server, {"host": host, "port": apps}))


@pytest.mark.parametrize("option", [{"app_host": "127.0.0.1"}, {"app_port": 1}])
def test_credentials_are_tried_unless_only_apps_reach_the_server_where_they_do(option: dict[str, Any]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.create_server(("127.0.0.1", 0)) as other:
        own, second, none = listening.getsockname()[1], other.getsockname()[1], a_port()
        assert is_so(own, none, **option)
        # Both are reached, or neither is: what is tried says what is wrong.
        assert not is_so(own, second, **option)
        assert not is_so(none, a_port(), **option)
        # They have no address of their own, or it is a socket here.
        assert not is_so(own, none)
        assert not is_so(own, own, **option)
        assert not is_so(own, none, "/run/none", **option)
