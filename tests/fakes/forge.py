"""The API of a git server, of a test's own: it takes the statuses of commits, refuses them, or hangs."""

import contextlib
import json
import ssl
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(slots=True)
class Forge:
    """What it was asked; the statuses that it answers with, 201 once none is left, with headers and a body."""

    port: int = 0
    asked: list[tuple[str, Mapping[str, str], Any]] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    is_silent: bool = False
    closing: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"

    def states(self) -> list[tuple[str, str]]:
        """The commit and the state of each request."""
        return [(path.rpartition("/")[2], body["state"]) for path, _, body in self.asked]


class _Answering(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        forge: Forge = self.server.forge  # type: ignore[attr-defined]
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        forge.asked.append((self.path, dict(self.headers), body))
        with contextlib.suppress(OSError):
            if forge.is_silent:
                forge.closing.wait()
                return
            self.send_response(forge.answers.pop(0) if forge.answers else 201)
            for name, value in forge.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(forge.body)))
            self.end_headers()
            self.wfile.write(forge.body)

    def log_message(self, *_: Any) -> None: ...


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    block_on_close = True


@contextlib.contextmanager
def forge(tls: ssl.SSLContext) -> Iterator[Forge]:
    """A git server that answers as long as the context lasts."""
    server: Any = _Server(("127.0.0.1", 0), _Answering)
    server.forge = Forge(port=server.server_port)
    server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server.forge
    finally:
        server.forge.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()
