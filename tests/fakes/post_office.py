"""A mail server and a webhook of a test's own, on ports the kernel picked: they take what comes, refuse it, or hang."""

import base64
import contextlib
import json
import socketserver
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import Message
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(slots=True, kw_only=True)
class PostOffice:
    """How it behaves, and what it got.

    `answers` are a mail server's own to a command, instead of the usual; an empty one is none at all, for ever.
    """

    port: int = 0
    context: ssl.SSLContext | None = None
    answers: dict[str, str] = field(default_factory=dict)
    heard: list[tuple[str, bool]] = field(default_factory=list)
    mail: list[Message] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)

    def said(self, verb: str) -> list[tuple[str, bool]]:
        """What followed a command each time, and whether it was said over TLS."""
        return [(line.partition(" ")[2], secret) for line, secret in self.heard if line.split(" ")[0].upper() == verb]


class _Clerk(socketserver.StreamRequestHandler):
    """One connection of a mail client."""

    def handle(self) -> None:
        with contextlib.suppress(OSError):  # the client is gone
            self._serve(self.server.office)  # type: ignore[attr-defined]

    def _serve(self, office: PostOffice) -> None:
        secret = self.server.at_once  # type: ignore[attr-defined]
        if secret:
            self._encrypt(office)
        greeting = office.answers.get("", "220 here")
        if not greeting:
            office.closing.wait()
            return
        self._answer(greeting)
        while line := self.rfile.readline().decode().strip():
            verb = line.split(" ")[0].upper()
            office.heard.append((line, secret))
            answer = office.answers.get(verb)
            if answer is None:
                answer = self._usual(office, verb, secret=secret)
            if not answer:
                office.closing.wait()
                return
            self._answer(answer)
            if verb == "QUIT":
                return
            if verb == "STARTTLS" and answer.startswith("220"):
                self._encrypt(office)
                secret = True

    def _usual(self, office: PostOffice, verb: str, *, secret: bool) -> str:
        match verb:
            case "EHLO":
                able = ["AUTH PLAIN"] if secret else ["STARTTLS"] if office.context is not None else []
                return "\r\n".join([*(f"250-{what}" for what in ["localhost", *able]), "250 SIZE"])
            case "STARTTLS" | "QUIT":
                return {"STARTTLS": "220 go on", "QUIT": "221 bye"}[verb]
            case "AUTH":
                return "235 come in"
            case "DATA":
                self._answer("354 go on")
                office.mail.append(message_from_bytes(b"".join(self._text()), policy=default))
        return "250 fine"

    def _text(self) -> Iterator[bytes]:
        while (line := self.rfile.readline()) not in {b".\r\n", b""}:
            yield line

    def _encrypt(self, office: PostOffice) -> None:
        assert office.context is not None
        self.connection = office.context.wrap_socket(self.connection, server_side=True)
        self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb", 0)

    def _answer(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())

    def finish(self) -> None:
        with contextlib.suppress(OSError):
            super().finish()
        self.connection.close()


@contextlib.contextmanager
def mail_server(context: ssl.SSLContext | None = None, *, at_once: bool = False) -> Iterator[PostOffice]:
    """A mail server; with a context it offers STARTTLS, or does TLS from the first byte on."""
    server: Any = socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Clerk)
    server.office = PostOffice(port=server.server_address[1], context=context)
    server.at_once = at_once
    with _kept(server, server.office.closing):
        yield server.office


def plain_login(user: str, password: str) -> str:
    """What a client says to log in, after AUTH."""
    return "PLAIN " + base64.b64encode(f"\0{user}\0{password}".encode()).decode()


@dataclass(slots=True, kw_only=True)
class Hook:
    """A webhook: what it got, what of that it took; what it answers, 200 when nothing is left; how answers come."""

    port: int = 0
    got: list[Any] = field(default_factory=list)
    taken: list[Any] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    manner: str = ""
    scheme: str = "http"
    closing: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}/hook/s3cret"


class _Answering(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        hook: Hook = self.server.hook  # type: ignore[attr-defined]
        hook.got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        with contextlib.suppress(OSError):
            if hook.manner == "silent":
                hook.closing.wait()
            elif hook.manner == "dripping":  # never silent for long, and never done
                self.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
                while not hook.closing.wait(0.02):
                    self.wfile.write(b"x")
            else:
                self._answer(hook, hook.answers.pop(0) if hook.answers else 200)

    def _answer(self, hook: Hook, status: int) -> None:
        if status == 200:
            hook.taken.append(hook.got[-1])
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None: ...


@contextlib.contextmanager
def webhook(context: ssl.SSLContext | None = None) -> Iterator[Hook]:
    """A webhook, by https with a context."""
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), _Answering)
    server.hook = Hook(port=server.server_port, scheme="http" if context is None else "https")
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    with _kept(server, server.hook.closing):
        yield server.hook


@contextlib.contextmanager
def _kept(server: Any, closing: threading.Event) -> Iterator[None]:
    server.daemon_threads = server.block_on_close = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield
    finally:
        closing.set()
        server.shutdown()
        thread.join()
        server.server_close()
