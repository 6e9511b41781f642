"""A steady load in a process of its own: a new connection for each request, so many a second, until its input ends.

usage: python -m benchmarks.load PORT REQUESTS_A_SECOND [NAME]; with a name, over TLS as its clients ask. Prints each
request: when it began, how long it took, and what came of it: 200, refused, cut or another status.
"""

import http.client
import json
import socket
import ssl
import subprocess
import sys
import threading
import time
from dataclasses import dataclass

_CLIENTS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """`began` is on the machine's monotonic clock, so that whoever started the load can tell what was going on."""

    began: float
    took_s: float
    outcome: str


class Load:
    """The load as seen by whoever starts it."""

    def __init__(self, port: int, rate: int, tls: str = "") -> None:
        command = [sys.executable, "-m", "benchmarks.load", str(port), str(rate), *([tls] if tls else [])]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def end(self) -> list[Request]:
        """Stop asking; every request there was."""
        told, _ = self._process.communicate()
        return [Request(began=began, took_s=took_s, outcome=outcome) for began, took_s, outcome in json.loads(told)]


def _client(at: tuple[int, str], pace_s: float, offset_s: float, over: threading.Event, heard: list[Request]) -> None:
    port, tls = at
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    due = time.monotonic() + offset_s
    while not over.wait(max(0.0, due - time.monotonic())):
        due = max(due + pace_s, time.monotonic())  # what was missed is not made up for
        began = time.monotonic()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            if tls:
                opened = socket.create_connection(("127.0.0.1", port), 30)
                # Else the request waits 40 ms, for the acknowledgement of the handshake's end.
                opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connection.sock = context.wrap_socket(opened, server_hostname=tls)
            connection.request("GET", "/", headers={"Connection": "close", "Host": tls or "127.0.0.1"})
            answer = connection.getresponse()
            answer.read()
            outcome = str(answer.status)
        except ConnectionRefusedError:
            outcome = "refused"
        except TimeoutError:
            outcome = "timeout"
        except (OSError, http.client.HTTPException):
            outcome = "cut"
        finally:
            connection.close()
        heard.append(Request(began=began, took_s=time.monotonic() - began, outcome=outcome))


def main() -> None:
    port, rate, tls = int(sys.argv[1]), int(sys.argv[2]), "".join(sys.argv[3:])
    over = threading.Event()
    heard: list[Request] = []
    clients = [
        threading.Thread(target=_client, args=((port, tls), _CLIENTS / rate, number / rate, over, heard))
        for number in range(_CLIENTS)
    ]
    for client in clients:
        client.start()
    sys.stdin.read()
    over.set()
    for client in clients:
        client.join()
    json.dump([(each.began, each.took_s, each.outcome) for each in heard], sys.stdout)


if __name__ == "__main__":
    main()
