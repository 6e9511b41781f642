"""An earlier commit of ours, from its own checkout: what a change cost or won, in the same run.

`RECONCILER_EARLIER` names the checkout; `scripts/setup run` has been run in it.
"""

import os
from pathlib import Path

from benchmarks.peers.reconciler import Reconciler

_CHECKOUT = os.environ.get("RECONCILER_EARLIER", "")


class Earlier(Reconciler):
    """The daemon of that checkout, with its own packages."""

    name = "earlier reconciler"
    checkout = Path(_CHECKOUT)


# The daemons of ours that take part.
DAEMONS: tuple[type[Reconciler], ...] = (Reconciler, Earlier) if _CHECKOUT else (Reconciler,)
