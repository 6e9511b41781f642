"""Let an instance stand alone, in the foreground, on Python 2.7 as well: its workers do what its daemon would do.

Once as many of them as it is to have are ready, the instance serves. One that is not ready within its start timeout,
and never was, is given up.
"""

import os
import time

_now = getattr(time, "monotonic", time.time)


def stand_alone(gate, workers):
    """Have a gate do so, with so many workers."""
    began = _now()
    tell, let_in = gate.tell, gate.let_in
    given_up = []

    def tell_or_give_up(reason):
        tell(reason)
        if not given_up and _now() - began > gate.start_timeout_s and not gate.serves():
            given_up.append(reason)
            gate.log("gave up after %g s: %s" % (gate.start_timeout_s, reason))
            os._exit(gate.reject(reason))

    def let_in_and_serve(*counts):
        let_in(*counts)
        if not gate.serves() and len([name for name in os.listdir(gate.passed) if name.isdigit()]) >= workers:
            gate.write("serving", "")

    gate.tell, gate.let_in = tell_or_give_up, let_in_and_serve
