"""SIGKILL of an app's first process: when its successor answers, and what clients notice until then."""

import os
import random
import signal
import time

from benchmarks.case import OURS, Bound, Case, Figures, ahead
from benchmarks.clients import Asker, ask
from benchmarks.peers.gunicorn_by_hand import GunicornByHand
from benchmarks.peers.peer import App, Peer
from benchmarks.setting import Setting, in_turn

_WHAT = "master killed → first 200 of its successor"
_REFUSED = "connections refused meanwhile"
_OTHERWISE = "requests failed otherwise"
_WITHIN_S = 30.0


def run(setting: Setting) -> Figures:
    figures = Figures()
    rounds = 3 if setting.quick else 20
    with setting.contenders(needs=("restart",), absent=figures.cannot) as asked:
        peers = [peer for peer in asked if setting.bring_up(peer, setting.apps("steady", 1), figures.cannot)]
        time.sleep(1.5)  # supervisord takes what lived for a second for started
        for turn in range(rounds):
            for peer in in_turn(peers, turn):
                time.sleep(random.uniform(0.2, 0.6))
                _kill_once(peer, peer.apps[0], figures)
    return figures


def _kill_once(peer: Peer, app: App, figures: Figures) -> None:
    before = ask(app.port)
    master = peer.masters()[app.name]
    with Asker(app.port) as asker:
        time.sleep(0.05)
        killed = time.perf_counter()
        os.kill(master, signal.SIGKILL)
        if isinstance(peer, GunicornByHand):
            peer.start_again(app)
        while not (back := [each.at for each in asker.heard if each.at > killed and each.body not in ("", before)]):
            if time.perf_counter() - killed > _WITHIN_S:
                figures.cannot(peer.name, f"not back within {_WITHIN_S:g} s in one of the rounds")
                return
            time.sleep(0.001)
    how = peer.ways["restart"]
    figures.add(_WHAT, peer.name, "ms", (back[0] - killed) * 1000, how=how)
    refused = asker.count("refused")
    figures.add(_REFUSED, peer.name, "a kill", refused)
    figures.add(_OTHERWISE, peer.name, "a kill", len(asker.heard) - asker.count("") - refused)


def _none_refused(figures: Figures) -> tuple[str, bool]:
    refused = sum(figures.of(_REFUSED)[OURS].samples)
    return f"{refused:.0f} in all kills", refused == 0


CASE = Case(
    name="crash",
    title="A killed master, to its successor's first answer",
    measures=(
        "The first process of an app with one worker is killed (SIGKILL), 20 times, in turn. A client opens a "
        "connection every 2 ms. The worker may answer for a while as an orphan; only an answer of another worker "
        "counts. By hand, the restart loses no time in noticing, and kills the orphan first."
    ),
    bounds=(ahead(_WHAT), Bound(says="no connection refused by ours", check=_none_refused)),
    plotted=(_WHAT,),
    run=run,
)
