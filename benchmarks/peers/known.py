"""All contenders, ourselves first."""

from benchmarks.peers.circus import Circus
from benchmarks.peers.earlier import DAEMONS
from benchmarks.peers.gunicorn_by_hand import AFewAtATime, GunicornByHand
from benchmarks.peers.honcho import Honcho
from benchmarks.peers.peer import Peer
from benchmarks.peers.runit import Runit
from benchmarks.peers.s6 import S6
from benchmarks.peers.supervisord import Supervisord
from benchmarks.peers.uwsgi_emperor import UwsgiEmperor

ALL: tuple[type[Peer], ...] = (*DAEMONS, GunicornByHand, UwsgiEmperor, Supervisord, Circus, Runit, S6, Honcho)
STARTERS: tuple[type[Peer], ...] = (*ALL, AFewAtATime)
