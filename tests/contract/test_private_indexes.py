"""Packages of private indexes: whoever publishes their names elsewhere gets into no bundle."""

import asyncio
import hashlib
import io
import os
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import uv

from reconciler.planning.apps.revision import Recipe
from reconciler.staging.detection.runtimes import discover
from reconciler.staging.environments.bundle import BundleRequest, bundle
from tests.contract.test_staging import WSGI

pytestmark = pytest.mark.network


def a_wheel(version: str, text: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as wheel:
        info = f"acme_internal-{version}.dist-info"
        wheel.writestr("acme_internal.py", text)
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: acme-internal\nVersion: {version}\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return packed.getvalue()


@contextmanager
def an_index(text: str, *versions: str, hashes: bool) -> Iterator[str]:
    """Serve one package whose only module holds the text; with `hashes` of its files, as most indexes have them."""
    files = {f"acme_internal-{version}-py3-none-any.whl": a_wheel(version, text) for version in versions}
    digests = {name: f"#sha256={hashlib.sha256(body).hexdigest()}" if hashes else "" for name, body in files.items()}
    page = "".join(f'<a href="/files/{name}{digests[name]}">{name}</a>' for name in files).encode()

    class Index(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            known = {"/simple/acme-internal/": page, **{f"/files/{name}": body for name, body in files.items()}}
            body = known.get(self.path)
            self.send_response(200 if body else 404)
            self.send_header("Content-Type", "text/html" if self.path.endswith("/") else "application/octet-stream")
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body or b"")

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Index)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/simple"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("hashes", [True, False])
def test_a_bundle_contains_the_file_of_the_private_index(tmp_path: Path, hashes: bool) -> None:
    code = tmp_path / "code"
    code.mkdir()
    (code / "wsgi.py").write_text(WSGI)
    (code / "requirements.txt").write_text("acme-internal\n")
    with (
        an_index("PRIVATE", "1.0", hashes=hashes) as private,
        an_index("PUBLIC", "1.0", "99.0", hashes=hashes) as public,
    ):
        request = BundleRequest(
            cache=tmp_path / "cache",
            uv=os.fsdecode(uv.find_uv_bin()),
            runtimes=discover(()),
            environ={**os.environ, "UV_INDEX": f"ours={private} theirs={public}"},
            timeout_s=300,
            log=tmp_path / "log",
            progress=lambda _: None,
        )
        made = asyncio.run(bundle(code, Recipe(runtime="3.12"), request))
    with zipfile.ZipFile(made.file) as bundled:
        (wheel,) = [name for name in bundled.namelist() if name.startswith("acme_internal-")]
        with zipfile.ZipFile(io.BytesIO(bundled.read(wheel))) as packed:
            assert (wheel, packed.read("acme_internal.py")) == ("acme_internal-1.0-py3-none-any.whl", b"PRIVATE")
