"""Many apps from nothing running to all serving, as after a boot; and the memory they and their manager hold then."""

import time

from benchmarks.case import Case, Figures, ratio_at_most
from benchmarks.peers.gunicorn_by_hand import AFewAtATime
from benchmarks.peers.known import STARTERS
from benchmarks.peers.peer import Peer
from benchmarks.processes import memory_mb
from benchmarks.setting import Setting, in_turn

_SIZES = (10, 50, 200)
_BOUND = 0.5


def serving(size: int) -> str:
    return f"{size} apps from cold to all serving"


def per_app(size: int) -> str:
    return f"memory per app, {size} apps"


def of_manager(size: int) -> str:
    return f"memory of the manager, {size} apps"


def run(setting: Setting) -> Figures:
    figures = Figures()
    for turn, size in enumerate((5, 10) if setting.quick else _SIZES):
        with setting.contenders(needs=("cold",), absent=figures.cannot, of=STARTERS) as peers:
            for peer in in_turn(peers, turn):
                _start_once(setting, peer, size, figures)
    return figures


def _start_once(setting: Setting, peer: Peer, size: int, figures: Figures) -> None:
    apps = setting.apps("cold", size)
    taken = setting.bring_up(peer, apps, figures.cannot)
    if taken is None:
        return
    figures.add(serving(size), peer.name, "s", taken)
    time.sleep(2.0)
    figures.add(per_app(size), peer.name, "MB", sum(map(memory_mb, peer.of_apps())) / size)
    if managing := peer.of_manager():
        figures.add(of_manager(size), peer.name, "MB", sum(map(memory_mb, managing)))
    peer.stop()


CASE = Case(
    name="cold",
    title="Many apps from cold to all serving, and their memory",
    measures=(
        "10, 50 and 200 apps are configured and staged, and nothing runs, as after a boot. The manager starts, and "
        "the clock runs until every port has answered. By hand, a loop starts all apps in the background at once, and"
        " in a second contender as many at a time as our daemon does. Memory is the proportional share (PSS) of all "
        "processes two seconds later; our fork servers are counted with our apps."
    ),
    bounds=(*(ratio_at_most(serving(size), AFewAtATime.name, _BOUND) for size in _SIZES),),
    plotted=(serving(200), per_app(200)),
    because=(
        "Before the first app, a Python with the daemon's modules starts, and then a fork server that imports gunicorn "
        "(0.2 s). With ten apps on two cores that is most of the time; from about thirty apps on it pays off. uWSGI "
        "starts no interpreter per app."
    ),
    run=run,
)
