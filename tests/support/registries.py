"""A registry that tests script: the requests of the OCI distribution specification, and each fault that one can have.

Debian's own registry is in `tests/tools/registry.py`.
"""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ssl import SSLContext
from typing import Any, Literal, TypeAlias
from urllib.parse import parse_qs, urlsplit

# What becomes of a request: an answer in place of the true one, or a connection that ends before it was handled, after
# it was handled, or with half of its content.
Fault: TypeAlias = tuple[int, dict[str, str]] | Literal["before", "after", "half"]


@dataclass(frozen=True, slots=True)
class Asked:
    """One request that a registry got."""

    method: str
    path: str
    authorization: str
    sent: int


@dataclass(slots=True)
class ScriptedRegistry:
    """What a registry has, which login it wants, and what it was asked. `fault` is asked before each request."""

    blobs: dict[str, dict[str, bytes]] = field(default_factory=dict)
    manifests: dict[tuple[str, str], bytes] = field(default_factory=dict)
    uploads: dict[str, bytearray] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    wants: Literal["", "basic", "bearer"] = ""
    login: tuple[str, str] = ("kim", "hush")
    lasts_s: float = 300.0
    token: str = "token-0"
    tokens: int = 0
    elsewhere: str = ""
    deletes: bool = True
    page: int = 100
    fault: Callable[[int, str, str], Fault | None] = lambda *_: None
    port: int = 0

    @property
    def done(self) -> list[str]:
        """The methods of what it was asked, those of its token server apart."""
        return [each.method for each in self.asked if not each.path.startswith("/token")]

    @property
    def sent(self) -> int:
        """The bytes of content that it got."""
        return sum(each.sent for each in self.asked)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    registry: ScriptedRegistry

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def _handle(self) -> None:
        registry, split = self.registry, urlsplit(self.path)
        fault = registry.fault(len(registry.asked), self.command, self.path)
        length = int(self.headers.get("Content-Length") or 0)
        if fault == "half":
            length //= 2
        content = self.rfile.read(length)
        authorization = self.headers.get("Authorization", "")
        registry.asked.append(Asked(self.command, self.path, authorization, len(content)))
        if fault == "before":
            self.close_connection = True
            return
        if isinstance(fault, tuple):
            self._answer(fault[0], fault[1], json.dumps({"errors": [{"code": "SCRIPTED", "message": "so"}]}).encode())
            return
        if split.path == "/token":
            self._token(authorization, parse_qs(content.decode() or split.query))
            return
        if (challenge := self._challenge(authorization)) and not split.path.startswith("/elsewhere/"):
            self._answer(401, {"WWW-Authenticate": challenge})
            return
        answer = self._dispatch(split.path, parse_qs(split.query), content)
        if fault in ("after", "half"):
            self.close_connection = True
            return
        self._answer(*answer)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _handle  # noqa: N815

    def _answer(self, status: int, headers: dict[str, str], content: bytes = b"") -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if "Content-Length" not in headers:
            self.send_header("Content-Length", str(len(content)))
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
        self.close_connection = True

    def _challenge(self, authorization: str) -> str:
        registry = self.registry
        if registry.wants == "basic" and authorization != _basic(registry.login):
            return 'Basic realm="registry"'
        if registry.wants == "bearer" and authorization != f"Bearer {registry.token}":
            scheme = "https" if isinstance(self.server, _Server) and self.server.is_tls else "http"
            return f'Bearer realm="{scheme}://localhost:{registry.port}/token",service="scripted",scope="none:x:pull"'
        return ""

    def _token(self, authorization: str, query: dict[str, list[str]]) -> None:
        registry = self.registry
        refreshed = query.get("refresh_token") == [registry.login[1]] and query.get("grant_type") == ["refresh_token"]
        if authorization != _basic(registry.login) and not refreshed:
            self._answer(401, {}, json.dumps({"errors": [{"code": "DENIED", "message": authorization}]}).encode())
            return
        registry.tokens += 1
        registry.token = f"token-{registry.tokens}"
        told = {"access_token": registry.token, "expires_in": registry.lasts_s}
        self._answer(200, {}, json.dumps(told).encode())

    def _dispatch(self, path: str, query: dict[str, list[str]], content: bytes) -> tuple[int, dict[str, str], bytes]:
        if match := re.fullmatch(r"/v2/(.+)/blobs/uploads/", path):
            return self._begin(match[1], query)
        if match := re.fullmatch(r"/(?:v2|elsewhere)/(.+)/blobs/uploads/(\w+)", path):
            return self._upload(match[1], match[2], query, content)
        if match := re.fullmatch(r"/v2/(.+)/blobs/(sha256:\w+)", path):
            found = self.registry.blobs.get(match[1], {}).get(match[2])
            return _error(404, "BLOB_UNKNOWN") if found is None else (200, {"Content-Length": str(len(found))}, b"")
        if match := re.fullmatch(r"/v2/(.+)/tags/list", path):
            return self._tags(match[1], query)
        if match := re.fullmatch(r"/v2/(.+)/manifests/(.+)", path):
            return self._manifest(match[1], match[2], content)
        return _error(404, "NAME_UNKNOWN")

    def _begin(self, repository: str, query: dict[str, list[str]]) -> tuple[int, dict[str, str], bytes]:
        registry = self.registry
        if "mount" in query and "from" in query:
            found = registry.blobs.get(query["from"][0], {}).get(query["mount"][0])
            if found is not None:
                registry.blobs.setdefault(repository, {})[query["mount"][0]] = found
                return 201, {}, b""
        name = f"u{len(registry.uploads)}"
        registry.uploads[name] = bytearray()
        top = f"{registry.elsewhere}/elsewhere" if registry.elsewhere else "/v2"
        return 202, {"Location": f"{top}/{repository}/blobs/uploads/{name}?_state=x", "Range": "0-0"}, b""

    def _upload(
        self, repository: str, name: str, query: dict[str, list[str]], content: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        registry = self.registry
        held = registry.uploads.get(name)
        if held is None:
            return _error(404, "BLOB_UPLOAD_UNKNOWN")
        now = {"Location": self.path, "Range": f"0-{max(len(held) - 1, 0)}"}
        if self.command == "GET":
            return 204, now, b""
        begins = self.headers.get("Content-Range", f"{len(held)}-").split("-")[0]
        if int(begins) != len(held):
            return 416, now, b""
        held.extend(content)
        if self.command == "PATCH":
            return 202, {**now, "Range": f"0-{max(len(held) - 1, 0)}"}, b""
        if f"sha256:{hashlib.sha256(held).hexdigest()}" != query["digest"][0]:
            return _error(400, "DIGEST_INVALID")
        registry.blobs.setdefault(repository, {})[query["digest"][0]] = bytes(registry.uploads.pop(name))
        return 201, {"Docker-Content-Digest": query["digest"][0]}, b""

    def _tags(self, repository: str, query: dict[str, list[str]]) -> tuple[int, dict[str, str], bytes]:
        """Tell a page of tags, and where the next one is."""
        tags = sorted(tag for known, tag in self.registry.manifests if known == repository and ":" not in tag)
        if repository not in {known for known, _ in self.registry.manifests}:
            return _error(404, "NAME_UNKNOWN")
        left = [tag for tag in tags if tag > query.get("last", [""])[0]]
        shown = left[: self.registry.page]
        more = {"Link": f'</v2/{repository}/tags/list?last={shown[-1]}>; rel="next"'} if shown != left else {}
        return 200, more, json.dumps({"name": repository, "tags": shown or None}).encode()

    def _delete(self, repository: str, digest: str) -> tuple[int, dict[str, str], bytes]:
        manifests = self.registry.manifests
        if not self.registry.deletes:
            return _error(405, "UNSUPPORTED")
        if (found := manifests.get((repository, digest))) is None:
            return _error(404, "MANIFEST_UNKNOWN")
        for key in [key for key, content in manifests.items() if key[0] == repository and content == found]:
            del manifests[key]
        return 202, {}, b""

    def _manifest(self, repository: str, name: str, content: bytes) -> tuple[int, dict[str, str], bytes]:
        registry = self.registry
        if self.command == "DELETE":
            return self._delete(repository, name)
        if self.command == "PUT":
            told = json.loads(content)
            wanted = {each["digest"] for each in (*told["layers"], told["config"])}
            if wanted - set(registry.blobs.get(repository, {})):
                return _error(404, "MANIFEST_BLOB_UNKNOWN")
            digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
            registry.manifests |= {(repository, name): content, (repository, digest): content}
            return 201, {"Docker-Content-Digest": digest}, b""
        found = registry.manifests.get((repository, name))
        if found is None:
            return _error(404, "MANIFEST_UNKNOWN")
        return 200, {"Docker-Content-Digest": f"sha256:{hashlib.sha256(found).hexdigest()}"}, found


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    is_tls = False

    def handle_error(self, *_: Any) -> None:
        """Say nothing: clients that go away are what is tried."""


def _error(status: int, code: str) -> tuple[int, dict[str, str], bytes]:
    return status, {}, json.dumps({"errors": [{"code": code, "message": "said the registry"}]}).encode()


def _basic(login: tuple[str, str]) -> str:
    return f"Basic {base64.b64encode(':'.join(login).encode()).decode()}"


@contextmanager
def scripted_registry(tls: SSLContext | None = None, **fields: Any) -> Iterator[ScriptedRegistry]:
    """Serve a registry at a port of its own."""
    registry = ScriptedRegistry(**fields)
    server = _Server(("localhost", 0), type("Handler", (_Handler,), {"registry": registry}))
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
        server.is_tls = True
    registry.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield registry
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
