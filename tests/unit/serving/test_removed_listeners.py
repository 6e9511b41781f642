"""A port that is closed for good takes no client with it that a wider listener of the same port can serve."""

import socket

from reconciler.planning.address import Address
from reconciler.serving.listening_sockets import Listeners


def test_who_connects_before_the_last_copy_is_closed_reaches_the_wider_listener() -> None:
    listeners = Listeners()
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as opened:
        port = opened.getsockname()[1]
        narrow, wide = Address(host="127.0.0.1", port=port), Address(host="0.0.0.0", port=port)
        listeners.take(narrow, opened.dup())
        listeners.open_beside(wide)
        listeners.remove(narrow)  # and the keeper's copy stays a little longer
        with socket.socket() as client, socket.fromfd(listeners.fd(wide), socket.AF_INET, socket.SOCK_STREAM) as beside:
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", port))
            opened.close()
            beside.settimeout(30.0)
            accepted, peer = beside.accept()
            with accepted:
                assert peer == client.getsockname()
    listeners.close_all()
