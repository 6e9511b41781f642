"""The manager is killed and started again: do the apps serve meanwhile, and are they adopted or started again?"""

import time

from benchmarks.case import Case, Figures, at_most
from benchmarks.clients import answers
from benchmarks.peers.earlier import DAEMONS
from benchmarks.peers.peer import Peer
from benchmarks.setting import Setting, in_turn

_MEANWHILE = "apps that serve without the manager"
_SAME = "apps adopted as they were"
_WITHIN_S = 10.0


def taken_back(size: int) -> str:
    return f"started again → {size} apps adopted"


def run(setting: Setting) -> Figures:
    figures = Figures()
    few, many = (3, 10) if setting.quick else (20, 200)
    with setting.contenders(needs=("manager",), absent=figures.cannot) as peers:
        for peer in in_turn(peers, 2):
            _kill_manager(setting, peer, few, figures)
    with setting.contenders(needs=("manager",), absent=figures.cannot, of=DAEMONS) as peers:
        for peer in peers:
            _kill_manager(setting, peer, many, figures)
    return figures


def _kill_manager(setting: Setting, peer: Peer, size: int, figures: Figures) -> None:
    apps = setting.apps("kept", size)
    if setting.bring_up(peer, apps, figures.cannot) is None:
        return
    time.sleep(1.5)
    before = peer.masters()
    peer.kill_manager()
    time.sleep(2.0)
    figures.add(_MEANWHILE, peer.name, "%", 100 * sum(answers(app.port) for app in apps) / size)
    began = time.perf_counter()
    peer.start()
    same = 0
    while same < size and time.perf_counter() - began < _WITHIN_S:
        time.sleep(0.005)
        supervised = peer.supervised()
        same = sum(supervised.get(name) == pid for name, pid in before.items())
    figures.add(_SAME, peer.name, "%", 100 * same / size)
    if same == size:
        figures.add(taken_back(size), peer.name, "ms", (time.perf_counter() - began) * 1000)
    peer.stop()


CASE = Case(
    name="manager",
    title="The manager killed and restarted",
    measures=(
        "The manager of 20 apps is killed (SIGKILL). Two seconds later: do the apps answer? It is restarted. Within "
        "10 s: does it supervise the same processes that ran before? Ours is also measured with 200 apps. The time "
        "includes the manager's own start. With runit and s6, each app's own supervisor outlives the killed process."
    ),
    bounds=(at_most(taken_back(200), 1000, "ms"),),
    plotted=(_SAME,),
    more_is_better=(_SAME,),
    run=run,
)
