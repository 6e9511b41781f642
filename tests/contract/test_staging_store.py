"""The environment store and private indexes, for real: damage is healed, secrets stay where they are."""

import asyncio
import base64
import io
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.contract.test_staging import WSGI, Host, host, shared, version_of

__all__ = ["host", "shared"]

pytestmark = [pytest.mark.contract, pytest.mark.network]

PASSWORD = "hunter2-of-the-index"


def a_wheel(name: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as wheel:
        info = f"{name}-1.0.dist-info"
        wheel.writestr(f"{name}.py", "")
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return packed.getvalue()


@pytest.fixture
def private_index() -> Iterator[str]:
    """An index with one package, for those who know the password."""
    wheel, known = "secretive-1.0-py3-none-any.whl", base64.b64encode(f"deploy:{PASSWORD}".encode()).decode()

    class Index(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            if self.headers.get("Authorization") != f"Basic {known}":
                self.send_response(401)
                self.send_header("WWW-Authenticate", "Basic")
                self.end_headers()
                return
            page = f'<a href="/files/{wheel}">{wheel}</a>'.encode()
            body = {"/simple/secretive/": page, f"/files/{wheel}": a_wheel("secretive")}.get(self.path)
            self.send_response(200 if body else 404)
            self.send_header("Content-Type", "text/html" if self.path.endswith("/") else "application/octet-stream")
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body or b"")

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Index)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/simple/"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_private_index_is_used_and_its_password_is_never_written(
    host: Host, private_index: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_INDEX", f"private={private_index}")
    monkeypatch.setenv("UV_INDEX_PRIVATE_USERNAME", "deploy")
    monkeypatch.setenv("UV_INDEX_PRIVATE_PASSWORD", PASSWORD)
    staged = host.staged("private", {"wsgi.py": WSGI, "requirements.txt": "secretive\n"}, runtime="3.12")
    assert version_of(staged, "secretive") == "1.0"
    written = [path for path in host.root.rglob("*") if path.is_file()]
    assert written
    assert not [path for path in written if PASSWORD.encode() in path.read_bytes()]


def test_a_file_that_is_damaged_in_the_cache_as_well_is_fetched_again(host: Host) -> None:
    build = host.build("shop", {"wsgi.py": WSGI, "requirements.txt": "iniconfig\n"})
    staged = asyncio.run(host.stage(host.stager(), "shop", build))
    (file,) = Path(staged.environment).glob("lib/*/site-packages/iniconfig/__init__.py")
    whole = file.read_bytes()
    with file.open("r+b") as writing:  # the very file that the cache has
        writing.truncate(10)
    edited = host.build("shop", {"wsgi.py": f"{WSGI}#"})
    again = asyncio.run(host.stage(host.stager(), "shop", edited))
    assert "the one in the store was damaged (lib/python" in again.because
    assert again.environment == staged.environment
    (file,) = Path(again.environment).glob("lib/*/site-packages/iniconfig/__init__.py")
    assert file.read_bytes() == whole


def test_an_environment_goes_once_nothing_needs_it_and_its_time_is_over(host: Host) -> None:
    stager = host.stager()
    old = asyncio.run(host.stage(stager, "shop", host.build("shop", {"wsgi.py": WSGI, "requirements.txt": "bottle\n"})))
    new = asyncio.run(host.stage(stager, "shop", host.build("shop", {"requirements.txt": "iniconfig\n"})))
    assert stager.collect(("shop",), 0) == ()
    stager.discard("shop", Path(old.directory).name)
    assert stager.collect(("shop",), 3600) == ()
    assert stager.collect(("shop",), 0) == (Path(old.environment).name,)
    assert not Path(old.environment).exists()
    assert stager.finished("shop", Path(new.directory).name) == new
    assert host.nothing_half_done()
