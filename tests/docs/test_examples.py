"""The samples without dependencies, called as a server would call them."""

import asyncio
import importlib.util
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
# One that not every host can run is beside its sample; `make run` links it.
LINKED = [path for path in EXAMPLES.glob("*/*.yaml") if path.stem == path.parent.name]
MANIFESTS = sorted([*LINKED, *(path for path in (ROOT / "manifests").glob("*.yaml") if not path.is_symlink())])


def kind_of(manifest: Path) -> str:
    return str(yaml.safe_load(manifest.read_text(encoding="utf-8")).get("kind", "app"))


def load(file: str) -> Any:
    path = EXAMPLES / file
    spec = importlib.util.spec_from_file_location("sample_" + path.parent.name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_sample_has_a_manifest_and_every_manifest_a_sample() -> None:
    samples = {path.name for path in EXAMPLES.iterdir() if path.is_dir()}
    assert {path.stem for path in MANIFESTS if kind_of(path) == "app"} == samples


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda path: path.stem)
def test_a_sample_manifest_names_the_schema_for_editors(manifest: Path) -> None:
    first = manifest.read_text(encoding="utf-8").splitlines()[0]
    assert first == f"# yaml-language-server: $schema=../schemas/{kind_of(manifest)}.schema.json"


@pytest.mark.parametrize("kind", ["app", "service"])
def test_every_field_of_a_manifest_is_documented(kind: str) -> None:
    schema = json.loads((ROOT / "schemas" / f"{kind}.schema.json").read_text(encoding="utf-8"))
    documented = (ROOT / "docs" / "reference" / "manifest.md").read_text(encoding="utf-8")
    missing = [
        name
        for field, about in schema["properties"].items()
        for name in [field, *(f"{field}.{part}" for part in about.get("properties", ()))]
        if f"| `{name}` |" not in documented
    ]
    assert not missing


def test_no_sample_fetches_anything_from_elsewhere() -> None:
    for page in EXAMPLES.rglob("*"):
        if page.suffix in {".html", ".css", ".py"}:
            assert "://" not in page.read_text(encoding="utf-8"), page


# The bare WSGI app


def ask_wsgi(application: Callable[..., Any], path: str, method: str = "GET") -> tuple[str, dict[str, str], bytes]:
    environ: dict[str, Any] = {"SCRIPT_NAME": "", "PATH_INFO": path, "REQUEST_METHOD": method, "QUERY_STRING": ""}
    setup_testing_defaults(environ)
    environ["wsgi.input"] = io.BytesIO()
    answer: dict[str, Any] = {}

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: object = None) -> Callable[[bytes], None]:
        answer.update(status=status, headers=dict(headers))
        return lambda _: None

    body = validator(application)(environ, start_response)
    try:
        content = b"".join(body)
    finally:
        body.close()  # type: ignore[attr-defined]
    return answer["status"], answer["headers"], content


def test_hello_shows_what_the_platform_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VCAP_APPLICATION", json.dumps({"name": "<blog>", "version": "abc123", "instance_id": "i-1"}))
    monkeypatch.setenv("VCAP_APP_PORT", "8123")
    monkeypatch.setenv("VCAP_SERVICES", json.dumps({"redis-2.2": [{"name": "cache"}]}))
    application = load("hello/wsgi.py").application
    status, headers, body = ask_wsgi(application, "/")
    assert status == "200 OK"
    assert headers["Content-Type"].startswith("text/html")
    assert b"&lt;blog&gt;" in body
    assert b"<blog>" not in body
    facts = json.loads(ask_wsgi(application, "/facts.json")[2])
    assert {"Revision": "abc123", "Instance": "i-1", "Port": "8123", "Services": "cache"}.items() <= facts.items()


def test_hello_serves_without_a_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("VCAP_APPLICATION", "VCAP_APP_PORT", "VCAP_SERVICES"):
        monkeypatch.delenv(name, raising=False)
    application = load("hello/wsgi.py").application
    assert ask_wsgi(application, "/")[0] == "200 OK"
    assert ask_wsgi(application, "/healthz")[2] == b"ok\n"


def test_hello_refuses_what_it_does_not_know() -> None:
    application = load("hello/wsgi.py").application
    assert ask_wsgi(application, "/nowhere")[0].startswith("404")
    assert ask_wsgi(application, "/", "POST")[0].startswith("405")
    status, headers, body = ask_wsgi(application, "/", "HEAD")
    assert (status, body) == ("200 OK", b"")
    assert int(headers["Content-Length"]) > 0


# The ASGI app


async def ask_asgi(
    application: Callable[..., Any], path: str, method: str = "GET", leave_after: int = 1000
) -> list[dict[str, Any]]:
    """What the app sends; the client is gone once it has seen `leave_after` messages."""
    sent: list[dict[str, Any]] = []
    left = asyncio.Event()

    async def receive() -> Mapping[str, Any]:
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)
        if len(sent) >= leave_after:
            left.set()

    async with asyncio.timeout(60):
        await application({"type": "http", "method": method, "path": path, "headers": []}, receive, send)
    return sent


def test_clock_shows_the_time_without_javascript() -> None:
    start, body = asyncio.run(ask_asgi(load("clock/asgi.py").application, "/"))
    assert start["status"] == 200
    assert dict(start["headers"])[b"content-length"] == str(len(body["body"])).encode()
    assert b'<time id="time" datetime="20' in body["body"]
    assert body["body"].count(b'<line x1="') == 12


def test_clock_ticks_until_its_reader_leaves() -> None:
    module = load("clock/asgi.py")
    start, retry, first, second = asyncio.run(ask_asgi(module.application, "/ticks", leave_after=4))
    assert dict(start["headers"])[b"content-type"].startswith(b"text/event-stream")
    assert retry["body"].startswith(b"retry: ")
    assert first["body"].startswith(b"data: 20")
    assert first["body"].endswith(b"\n\n")
    assert second["body"] > first["body"]
    assert module.state["watching"] == 0


def test_clock_ends_a_stream_by_itself() -> None:
    module = load("clock/asgi.py")
    module.TICKS_PER_STREAM = 1
    sent = asyncio.run(ask_asgi(module.application, "/ticks"))
    assert sent[-1] == {"type": "http.response.body", "body": b""}
    assert len(sent) == 4


def test_clock_refuses_what_it_does_not_know() -> None:
    application = load("clock/asgi.py").application
    assert asyncio.run(ask_asgi(application, "/nowhere"))[0]["status"] == 404
    assert asyncio.run(ask_asgi(application, "/", "POST"))[0]["status"] == 405
    assert asyncio.run(ask_asgi(application, "/", "HEAD"))[1]["body"] == b""
    with pytest.raises(ValueError, match="websocket"):
        asyncio.run(application({"type": "websocket"}, None, None))


def test_clock_answers_the_lifespan() -> None:
    module = load("clock/asgi.py")
    asked = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])
    sent: list[str] = []

    async def receive() -> dict[str, str]:
        return next(asked)

    async def send(message: dict[str, str]) -> None:
        sent.append(message["type"])

    asyncio.run(module.application({"type": "lifespan"}, receive, send))
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert module.state["started"] is not None


# The queue of the mazes


def test_an_order_of_a_maze_is_taken_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    orders = load("mazes/orders.py")
    for size in (8, 16):
        orders.place(size)
    first, second, third = (orders.take(worker) for worker in ("one", "two", "three"))
    assert (first["size"], second["size"], third) == (8, 16, None)
    orders.finish(first["id"], "M0 0")
    assert [(order["taken_by"], order["drawing"]) for order in orders.newest(2)] == [("two", None), ("one", "M0 0")]
    assert orders.remove_older_than(0) == 1


def test_an_order_whose_worker_was_killed_is_taken_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    orders = load("mazes/orders.py")
    orders.place(8)
    assert orders.take("one")["size"] == 8
    monkeypatch.setattr(orders, "ABANDONED_AFTER_S", -1)
    assert orders.take("two")["size"] == 8


def test_every_cell_of_a_maze_is_reached_by_one_way() -> None:
    size = 9
    drawing = load("mazes/maze.py").draw(size, seed=1)
    walls = drawing.count("M") - 2  # the first two are its edge
    inside, edges, doors = 2 * size * (size - 1), 2 * size, 1
    assert walls == inside + edges - doors - (size * size - 1)
