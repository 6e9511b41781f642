"""A new app is asked for, until its first 200: at random phases of every program's own timers, one of each in turn."""

import random
import time

from benchmarks.case import Case, Figures, ahead
from benchmarks.clients import seconds_to_200
from benchmarks.setting import Setting, in_turn

_WHAT = "asked for → first 200"


def run(setting: Setting) -> Figures:
    figures = Figures()
    rounds = 3 if setting.quick else 20
    with setting.contenders(needs=("drop",), absent=figures.cannot) as asked:
        peers = [peer for peer in asked if setting.bring_up(peer, setting.apps("warm", 2), figures.cannot)]
        for turn in range(rounds):
            for peer in in_turn(peers, turn):
                time.sleep(random.uniform(0.05, 0.35))
                (app,) = setting.apps(f"drop-{turn}", 1)
                began = time.perf_counter()
                peer.drop(app)
                taken = seconds_to_200(app.port, began)
                figures.add(_WHAT, peer.name, "ms", taken * 1000, how=peer.ways["drop"])
    return figures


CASE = Case(
    name="drop",
    title="A new app, from saving its configuration to its first answer",
    measures=(
        "Every manager runs and serves two apps. In turn, 20 times, each gets one more, at a random phase of its own "
        "timers and the way its users do it; the command they run is part of the time. The environment exists "
        "already. A client tries the port every half millisecond."
    ),
    bounds=(ahead(_WHAT),),
    plotted=(_WHAT,),
    run=run,
)
