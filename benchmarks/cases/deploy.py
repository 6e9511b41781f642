"""New code while requests come in: how many fail, and how much longer the slowest hundredth takes."""

import contextlib
import http.client
import statistics
import time
from collections.abc import Sequence

from benchmarks.case import BY_HAND, OURS, Bound, Case, Figures
from benchmarks.clients import ask, until
from benchmarks.gunicorn import replace_app, write_app
from benchmarks.load import Load, Request
from benchmarks.peers.peer import App, Peer
from benchmarks.peers.reconciler import Reconciler
from benchmarks.setting import Setting, in_turn

_RATE = 200
_FAILED = "requests failed in all deploys"
_QUIET = "p99 without deploys"
_BUSY = "p99 during deploys"
_TAKEN = "new code → first answer of it"
_WHOLE = "new code, its directory renamed into place → first answer of it"
_GATE = "of which starting it and its gate"
_BETWEEN_S = 2.0


def run(setting: Setting) -> Figures:
    figures = Figures()
    with setting.contenders(needs=("deploy",), absent=figures.cannot) as peers:
        for peer in in_turn(peers, 1):
            _deploy_some(setting, peer, figures)
    return figures


def _deploy_some(setting: Setting, peer: Peer, figures: Figures) -> None:
    code = setting.directory / f"deployed-{setting.apps('x', 1)[0].port}"
    write_app(code)
    (free,) = setting.apps("deployed", 1)
    app = App(name=free.name, port=free.port, code=code)
    if setting.bring_up(peer, [app], figures.cannot) is None:
        return
    time.sleep(1.5)  # supervisord takes what lived for a second for started
    how = peer.ways["deploy"]
    load = Load(app.port, _RATE)
    try:
        time.sleep(2.0 if setting.quick else 8.0)
        first = time.monotonic()
        for version in range(2, 4 if setting.quick else 8):
            began = time.perf_counter()
            write_app(code, version)
            peer.deploy(app)
            until(lambda version=version: _serves(app, version), within_s=60, pause_s=0.005)  # type: ignore[misc]
            figures.add(_TAKEN, peer.name, "ms", (time.perf_counter() - began) * 1000, how=how)
            time.sleep(_BETWEEN_S)
        if isinstance(peer, Reconciler):
            _replace_some(setting, peer, app, figures)
    finally:
        asked = load.end()
    quiet, busy = [each for each in asked if each.began < first], [each for each in asked if each.began >= first]
    failed = sum(each.outcome != "200" for each in busy)
    figures.add(_FAILED, peer.name, f"of {len(busy)}", failed, how=how)
    figures.add(_QUIET, peer.name, "ms", _p99_ms(quiet))
    if failed * 100 <= len(busy):
        figures.add(_BUSY, peer.name, "ms", _p99_ms(busy))
    peer.stop()


def _replace_some(setting: Setting, peer: Reconciler, app: App, figures: Figures) -> None:
    """What is moved into place is read without a rest. A gunicorn by hand would stay in the directory of before."""
    for version in range(20, 22 if setting.quick else 26):
        began = time.perf_counter()
        replace_app(app.code, version)
        until(lambda version=version: _serves(app, version), within_s=60, pause_s=0.005)  # type: ignore[misc]
        figures.add(_WHOLE, peer.name, "ms", (time.perf_counter() - began) * 1000)
        time.sleep(_BETWEEN_S)
        figures.add(_GATE, peer.name, "ms", peer.last_gate_s(app) * 1000)


def _serves(app: App, version: int) -> bool:
    with contextlib.suppress(OSError, http.client.HTTPException):
        return ask(app.port).startswith(f"{version} ")
    return False


def _p99_ms(asked: Sequence[Request]) -> float:
    """Of those that were answered; the others are counted."""
    return statistics.quantiles((each.took_s * 1000 for each in asked if each.outcome == "200"), n=100)[98]


def _none_failed(figures: Figures) -> tuple[str, bool]:
    ours = figures.of(_FAILED)[OURS]
    return f"{ours.median:.0f} {ours.unit}", ours.median == 0


def _whole_beside_hup(figures: Figures) -> tuple[str, bool]:
    whole, gate, hup = figures.of(_WHOLE)[OURS], figures.of(_GATE)[OURS], figures.of(_TAKEN)[BY_HAND]
    told = f"{whole.median:.1f} ms; `kill -HUP` {hup.median:.1f} ms, the gate {gate.median:.1f} ms"
    return told, whole.median <= 2 * hup.median + gate.median


CASE = Case(
    name="deploy",
    title="Deploys under load",
    measures=(
        "200 requests per second, each on a new connection, to an app with one worker. Its code is replaced six "
        "times, and the manager is notified the way its users do it; the next replacement follows two seconds after "
        "the first answer of the new code. The percentile covers the requests that were answered; it is omitted where"
        " more than one in a hundred failed."
    ),
    bounds=(
        Bound(says="no request of ours fails", check=_none_failed),
        Bound(
            says="a directory renamed into place → its first answer: at most twice `kill -HUP` by hand, and the gate",
            check=_whole_beside_hup,
        ),
    ),
    plotted=(_FAILED, _BUSY, _TAKEN),
    because=(
        "A new instance is started and probed, and receives the listener before the old one is told to finish. "
        "gunicorn replaces its workers at once on HUP, whether or not the new ones can serve."
    ),
    run=run,
)
