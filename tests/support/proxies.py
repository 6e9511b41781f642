"""Caddys that the tests start for themselves, and clients of the names that they serve."""

import functools
import http.client
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from reconciler.planning.routing.route import Front
from reconciler.settings.proxy import Proxy
from tests.support.ports import a_port

CADDIES = tuple(
    dict.fromkeys(
        path
        for path in (
            shutil.which("caddy", path=str(Path(sys.executable).parent)),
            shutil.which("caddy", path="/usr/local/bin"),
            shutil.which("caddy", path="/usr/bin"),
            shutil.which("caddy"),
        )
        if path is not None
    )
)
needs_caddy = pytest.mark.skipif(not CADDIES, reason="no Caddy is installed ('scripts/servers caddy' installs one)")


@functools.cache
def version(program: str) -> tuple[int, ...]:
    said = subprocess.run([program, "version"], capture_output=True, text=True, check=True, timeout=60).stdout
    match = re.search(r"(\d+)\.(\d+)\.(\d+)", said)
    return tuple(map(int, match.groups())) if match else ()


def newest_caddy() -> str:
    """The newest Caddy here, which keeps streams open where an old one does not."""
    return max(CADDIES, key=version)


class _Connection(ssl.SSLSocket):
    """Closes itself: where the peer resets while it is made, `wrap_socket` raises and leaves it open to nobody."""

    def __del__(self) -> None:
        self.close()


def context() -> ssl.SSLContext:
    """Takes the certificate of every authority: that there is one of the name is what a test looks at."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    made.sslsocket_class = _Connection
    return made


def kept_proxy(program: str | None = None) -> Proxy:
    """Settings of a Caddy that the daemon runs, the newest or this one, at ports of its own."""
    front = Front(http=a_port(), https=a_port(), address="127.0.0.1")
    return Proxy(front=front, run=True, program=program or newest_caddy(), settle_s=0.2)


def connected(name: str, port: int, within: float = 10.0) -> ssl.SSLSocket:
    """A TLS connection to a name at a port of this host."""
    opened = socket.create_connection(("127.0.0.1", port), within)
    try:
        return context().wrap_socket(opened, server_hostname=name)
    except BaseException:
        opened.close()
        raise


def ask(
    name: str,
    port: int,
    path: str = "/",
    *,
    tls: bool = True,
    headers: Mapping[str, str] | None = None,
    within: float = 10.0,
) -> tuple[int, str, dict[str, str]]:
    """Status, body and headers of a GET for a name at a port of this host."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=within)
    line = connected(name, port, within) if tls else socket.create_connection(("127.0.0.1", port), within)
    connection.sock = line
    try:
        fields = {"Host": name, **(headers or {})}
        connection.request("GET", path, headers=fields)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), {key.lower(): value for key, value in answer.getheaders()}
    finally:
        hang_up(connection, line)


def hang_up(connection: http.client.HTTPConnection, line: socket.socket | None) -> None:
    """Close a connection, also where an answer that never came still has it open."""
    connection.close()
    if line is not None and line.fileno() != -1:
        os.close(line.detach())
