"""An earlier commit of ours, from its own checkout: what a change cost or won, in the same run.

`RECONCILER_EARLIER` names the checkout; `scripts/setup run` has been run in it.
"""

import os
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.peers.peer import Room
from benchmarks.peers.reconciler import Reconciler

CHECKOUT = os.environ.get("RECONCILER_EARLIER", "")


class Earlier(Reconciler):
    """The daemon of that checkout, with its own packages."""

    name = "earlier reconciler"

    def __init__(self, room: Room) -> None:
        super().__init__(room)
        self.bench.checkout = Path(CHECKOUT)


def bench_of(directory: Path, who: str) -> Bench:
    """A bench of the daemon that is called so in the figures."""
    directory.mkdir()
    made = Bench(directory)
    if who == Earlier.name:
        made.checkout = Path(CHECKOUT)
    return made


def ours() -> tuple[str, ...]:
    """The names of the daemons of ours that take part."""
    return (Reconciler.name, Earlier.name) if CHECKOUT else (Reconciler.name,)
