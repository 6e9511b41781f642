"""A git server over https: `git http-backend` behind a small server, which asks for a token or misbehaves on demand."""

import base64
import contextlib
import os
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

_BACKEND = Path("/usr/lib/git-core/git-http-backend")

# What answers instead of git: it gets the request, and returns whether it has answered.
Instead = Callable[[BaseHTTPRequestHandler], bool]


@dataclass(slots=True)
class GitServer:
    """A server of the repositories in `root`; `asked` holds the path and the credentials of each request.

    Unless it `speaks_newest`, it knows git's first protocol only, in which no commit is given out by its id.
    """

    root: Path
    token: str | None = None
    instead: Instead | None = None
    speaks_newest: bool = True
    asked: list[tuple[str, str]] = field(default_factory=list)
    port: int = 0

    def url(self, name: str = "fleet.git", host: str = "localhost") -> str:
        return f"https://{host}:{self.port}/{name}"


@contextlib.contextmanager
def git_server(
    root: Path, tls: ssl.SSLContext, token: str | None = None, address: str = "127.0.0.1"
) -> Iterator[GitServer]:
    """A server that runs as long as the context."""
    described = GitServer(root, token)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.0"

        def do_GET(self) -> None:
            self._answer(b"")

        def do_HEAD(self) -> None:
            self._answer(b"")

        def do_POST(self) -> None:
            self._answer(self.rfile.read(int(self.headers.get("Content-Length") or 0)))

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base class calls it so
            pass

        def _answer(self, body: bytes) -> None:
            described.asked.append((self.path, _credentials(self.headers.get("Authorization"))))
            if described.instead is not None and described.instead(self):
                return
            if described.token is not None and not described.asked[-1][1].endswith(f":{described.token}"):
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="git"')
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            path, _, query = self.path.partition("?")
            done = subprocess.run(
                [_BACKEND], input=body, capture_output=True, check=False, timeout=60,
                env={
                    "PATH": os.environ["PATH"], "GIT_PROJECT_ROOT": str(described.root), "GIT_HTTP_EXPORT_ALL": "1",
                    "PATH_INFO": path, "QUERY_STRING": query, "REQUEST_METHOD": self.command, "REMOTE_USER": "reader",
                    "CONTENT_TYPE": self.headers.get("Content-Type") or "", "REMOTE_ADDR": "127.0.0.1",
                    "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding") or "",
                    "GIT_PROTOCOL": (self.headers.get("Git-Protocol") or "") if described.speaks_newest else "",
                    "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null",
                },
            )  # fmt: skip
            head, _, content = done.stdout.partition(b"\r\n\r\n")
            fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if ": " in line)
            self.send_response(int(fields.pop("Status", "200").split()[0]))
            for name, value in fields.items():
                self.send_header(name, value)
            if "Content-Length" not in fields:
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    server = ThreadingHTTPServer((address, 0), Handler)
    server.daemon_threads = True
    server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    described.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield described
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def redirecting_to(url: str, status: int = 302) -> Instead:
    """Answer every request with a redirect to the same path elsewhere."""

    def redirect(request: BaseHTTPRequestHandler) -> bool:
        request.send_response(status)
        request.send_header("Location", f"{url}{request.path.removeprefix('/fleet.git')}")
        request.send_header("Content-Length", "0")
        request.end_headers()
        return True

    return redirect


def answering(status: int) -> Instead:
    """Answer every request with this status."""

    def answer(request: BaseHTTPRequestHandler) -> bool:
        request.send_response(status)
        request.send_header("Content-Length", "0")
        request.end_headers()
        return True

    return answer


def _credentials(header: str | None) -> str:
    return base64.b64decode(header.removeprefix("Basic ")).decode() if header else ""
