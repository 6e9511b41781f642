"""A manifest dropped into a running daemon's directory, until its first 200, beside gunicorn started by hand.

The environment is in the store already. One of each in turn, at random phases of the daemon's own timers.
"""

import random
import statistics
import sys
import time

from _bench import bench, free_ports, gunicorn_by_hand, machine, seconds_to_200, summary, verdict

RUNS = 20
MOST = 1.5


def main() -> int:
    print(machine())
    with bench() as here:
        here.start()
        here.drop("warm", f"path: {here.app}\n")
        here.until("running", ["warm"])
        python = here.environment_python()
        ours, theirs = [], []
        for number, port in enumerate(free_ports(2 * RUNS)):
            time.sleep(random.uniform(0.1, 0.6))
            if number % 2:
                with gunicorn_by_hand(python, here.app, port) as began:
                    theirs.append(seconds_to_200(port, began))
            else:
                name = f"drop-{number}"
                text = f"path: {here.app}\nport: {port}\n"
                began = time.perf_counter()
                here.drop(name, text)
                ours.append(seconds_to_200(port, began))
        print(f"manifest dropped → first 200    {summary(ours)}")
        print(f"gunicorn by hand → first 200    {summary(theirs)}")
        return 0 if verdict("drop to serving", statistics.median(ours) / statistics.median(theirs), MOST) else 1


if __name__ == "__main__":
    sys.exit(main())
