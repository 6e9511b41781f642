"""Draw what is ordered, one maze after the other. Told to stop, it finishes the maze it is at."""

import os
import signal
import threading

import orders
from maze import draw

NAME = f"{os.environ.get('RECONCILER_PROCESS', 'worker')} ({os.getpid()})"
PAUSE_S = 0.5
TAKES_S = 2.0  # a maze is drawn in no time: the rest is there to be seen

stopping = threading.Event()


def main():
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    print(f"{NAME} waits for orders", flush=True)
    while not stopping.is_set():
        order = orders.take(NAME)
        if order is None:
            stopping.wait(PAUSE_S)
            continue
        drawing = draw(order["size"])
        threading.Event().wait(TAKES_S)
        orders.finish(order["id"], drawing)
        print(f"order {order['id']}: a maze of {order['size']} by {order['size']}", flush=True)
    print(f"{NAME} was told to stop and has nothing in hand", flush=True)


if __name__ == "__main__":
    main()
