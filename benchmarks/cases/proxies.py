"""An app behind a proxy, over TLS: deploys under load, throughput, and a name that is saved until it is served."""

import contextlib
import http.client
import re
import socket
import ssl
import statistics
import subprocess
import time
from collections.abc import Iterator, Sequence

from benchmarks.case import OURS, Bound, Case, Figures, at_most
from benchmarks.clients import until
from benchmarks.fronts.by_hand import CaddyByHand, LikePiku, NginxByHand
from benchmarks.fronts.front import NAME, Front
from benchmarks.fronts.ours import WithCaddy, WithNginx
from benchmarks.load import Load, Request
from benchmarks.setting import Setting, in_turn
from benchmarks.tools import tool

_FRONTS: Sequence[type[Front]] = (WithCaddy, CaddyByHand, WithNginx, NginxByHand, LikePiku)
_LOAD = 100
_FAILED = "requests failed in all deploys"
_QUIET, _BUSY = "p99 without deploys", "p99 during deploys"
_THROUGHPUT, _LATENCY = "requests a second", "p99 at that rate"
_NAME = "name saved → first 200"
_BETWEEN_S = 2.0
_SETTLED_S = 2.5  # names of ours change at once after two quiet seconds
_CONNECTIONS = 8
_AS_GOOD = 0.9


def run(setting: Setting) -> Figures:
    figures = Figures()
    with _fronts(setting, figures) as fronts:
        for front in fronts:
            _deploys(front, figures, quick=setting.quick)
            _names(front, figures, quick=setting.quick)
        _throughput(fronts, figures, quick=setting.quick)
    return figures


@contextlib.contextmanager
def _fronts(setting: Setting, figures: Figures) -> Iterator[list[Front]]:
    """All that can take part, each with its app served over TLS."""
    with contextlib.ExitStack() as stack:
        up: list[Front] = []
        for kind in _FRONTS:
            if setting.wanted and kind.name not in setting.wanted:
                continue
            if why := kind.missing():
                figures.cannot(kind.name, why)
                continue
            front = kind(setting.room())
            stack.callback(front.stop)
            try:
                front.start()
                until(lambda front=front: _answer(front.https, NAME) != "", within_s=60)  # type: ignore[misc]
            except (TimeoutError, subprocess.CalledProcessError) as error:
                figures.cannot(front.name, f"{error}; it says: {front.last_words()}")
                continue
            up.append(front)
        yield up


def _deploys(front: Front, figures: Figures, *, quick: bool) -> None:
    how = front.ways["deploy"]
    load = Load(front.https, _LOAD, tls=NAME)
    try:
        time.sleep(2.0 if quick else 8.0)
        first = time.monotonic()
        for version in range(2, 4 if quick else 8):
            front.deploy(version)
            until(lambda version=version: _answer(front.https, NAME).startswith(f"{version} "))  # type: ignore[misc]
            time.sleep(_BETWEEN_S)
    finally:
        asked = load.end()
    quiet, busy = [each for each in asked if each.began < first], [each for each in asked if each.began >= first]
    figures.add(_FAILED, front.name, f"of {len(busy)}", sum(each.outcome != "200" for each in busy), how=how)
    figures.add(_QUIET, front.name, "ms", _p99_ms(quiet))
    figures.add(_BUSY, front.name, "ms", _p99_ms(busy))


def _names(front: Front, figures: Figures, *, quick: bool) -> None:
    for number in range(3 if quick else 10):
        time.sleep(_SETTLED_S)
        name = f"name{number}.{NAME}"
        began = time.perf_counter()
        front.add(name)
        until(lambda name=name: _answer(front.https, name) != "", pause_s=0.002)  # type: ignore[misc]
        taken = (time.perf_counter() - began) * 1000
        figures.add(_NAME, front.name, "ms", taken, how=front.ways["name"])


def _throughput(fronts: Sequence[Front], figures: Figures, *, quick: bool) -> None:
    wrk = tool("wrk")
    if wrk.missing:
        figures.cannot("wrk", wrk.missing)
        return
    rounds, seconds = (2, 1) if quick else (8, 4)
    for turn in range(rounds + 1):
        for front in in_turn(fronts, turn):
            rate, p99_ms = _wrk(wrk.path, front.https, seconds)
            if turn:  # the first round only warms up
                figures.add(_THROUGHPUT, front.name, "requests/s", rate)
                figures.add(_LATENCY, front.name, "ms", p99_ms)


def _wrk(program: str, port: int, seconds: int) -> tuple[float, float]:
    """Requests a second over kept TLS connections, and the 99th percentile of their latency in milliseconds."""
    command = [program, "-t1", f"-c{_CONNECTIONS}", f"-d{seconds}s", "--latency", f"https://{NAME}:{port}/"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rate, p99 = re.search(r"Requests/sec:\s+([\d.]+)", told), re.search(r"99%\s+([\d.]+)(us|ms|s)\b", told)
    assert rate, told
    assert p99, told
    assert "Non-2xx" not in told, told
    return float(rate[1]), float(p99[1]) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[p99[2]]


def _answer(port: int, name: str) -> str:
    """The body of a 200 over TLS on a new connection, "" for anything else."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(connection):
        opened = socket.create_connection(("127.0.0.1", port), 10)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sock = context.wrap_socket(opened, server_hostname=name)
        connection.request("GET", "/", headers={"Host": name})
        answer = connection.getresponse()
        body = answer.read().decode()
        return body if answer.status == 200 else ""
    return ""


def _p99_ms(asked: Sequence[Request]) -> float:
    """Of those that were answered; the others are counted."""
    return statistics.quantiles((each.took_s * 1000 for each in asked if each.outcome == "200"), n=100)[98]


def _none_failed(figures: Figures) -> tuple[str, bool]:
    ours = figures.of(_FAILED)[OURS]
    return f"{ours.median:.0f} {ours.unit}", ours.median == 0


def _as_fast(figures: Figures) -> tuple[str, bool]:
    found = figures.of(_THROUGHPUT)
    ratio = found[OURS].median / found[CaddyByHand.name].median
    return f"{ratio:.2f} of its requests a second", ratio >= _AS_GOOD


def _as_prompt(figures: Figures) -> tuple[str, bool]:
    found = figures.of(_LATENCY)
    ratio = found[OURS].median / found[CaddyByHand.name].median
    return f"{ratio:.2f} of its p99", ratio <= 1 / _AS_GOOD


CASE = Case(
    name="proxies",
    title="Domains and TLS",
    measures=(
        "An app with one sync worker behind a proxy, over TLS. 100 requests per second, each on a new connection, "
        "while its code is replaced six times; then ten names are added, one by one, and each is "
        "asked for until it answers; then `wrk` with eight kept connections, in turn. By hand, gunicorn is told of new "
        "code by HUP. Piku "
        "writes nginx's file again at each deploy and reloads; gunicorn takes the place of its uWSGI."
    ),
    bounds=(
        Bound(says="no request of ours fails", check=_none_failed),
        at_most(_NAME, 500, "ms"),
        Bound(says="as many requests a second as through Caddy by hand, within a tenth", check=_as_fast),
        Bound(says="p99 as through Caddy by hand, within a tenth", check=_as_prompt),
    ),
    plotted=(_FAILED, _BUSY, _THROUGHPUT, _LATENCY, _NAME),
    more_is_better=(_THROUGHPUT,),
    because=(
        "A deploy of ours never touches the proxy, and the app's listener is never closed. A change of names waits "
        "until two seconds have passed since the last one, so that several are one."
    ),
    run=run,
)
