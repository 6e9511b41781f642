"""Tell an app who its client is when a request comes through the host's proxy. Loaded by gate.py, on Python 2.7 too.

The proxy sends a key that only it and the app know: with it, the address that it names takes the place of its own.
Without it, what a request says of itself in forwarding headers is only a client's word, and is dropped.

What an app leaves unread of a body is read when its answer is complete: a connection that is closed with unread bytes
is reset, and a proxy that still sends would make 502 of the answer, or cut it off.
"""

import os
import time

KEY_MARK = "RECONCILER_CLIENT_KEY"
_DRAIN_S = 1.0
_MOST_DRAINED = 64 * 1024 * 1024
_monotonic = getattr(time, "monotonic", None)  # Python 2.7 has none, and closes as its gunicorn does
_IN_REAL_IP = "-"  # what Traefik says, which can put no address into a header but X-Real-Ip
_HEADER = "HTTP_X_RECONCILER_CLIENT"
_FORWARDED = ("HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_PROTO", "HTTP_X_FORWARDED_HOST", "HTTP_X_FORWARDED_PREFIX",
              "HTTP_X_FORWARDED_PORT", "HTTP_X_FORWARDED_PROTOCOL", "HTTP_X_FORWARDED_SCHEME", "HTTP_X_FORWARDED_SSL",
              "HTTP_X_REAL_IP", "HTTP_FORWARDED", "HTTP_X_SCHEME", "HTTP_X_SCRIPT_NAME")  # fmt: skip


def guard(worker, told_asgi, is_wsgi):
    """Wrap the app of a worker whose instance has a key, by `told_asgi` if given, else if `is_wsgi` says it is WSGI's.

    `told_asgi` returns an ASGI app that is told its client.
    """
    key = os.environ.get(KEY_MARK, "")
    if not key:
        return
    if told_asgi is not None:
        config = getattr(worker, "config", None)
        if hasattr(config, "proxy_headers"):
            config.proxy_headers = False  # uvicorn's workers would believe every client at 127.0.0.1 who it is
        attribute = "asgi" if hasattr(worker, "asgi") else "wsgi"
        setattr(worker, attribute, told_asgi(getattr(worker, attribute), key.encode("ascii")))
    elif is_wsgi(worker.wsgi):
        worker.wsgi = _told(worker.wsgi, key, "https" if worker.cfg.is_ssl else "http")


def _told(app, key, own_scheme):
    start = key + " "

    def told(environ, start_response):
        said = environ.pop(_HEADER, None)
        if said is not None and said.startswith(start):
            client = said[len(start) :]
            environ["REMOTE_ADDR"] = client if client != _IN_REAL_IP else environ.get("HTTP_X_REAL_IP", "127.0.0.1")
            environ["REMOTE_PORT"] = "0"
            scheme = environ.get("HTTP_X_FORWARDED_PROTO")
            if scheme in ("http", "https"):
                environ["wsgi.url_scheme"] = scheme
            if _has_body(environ) and environ.get("HTTP_CONNECTION", "").lower() == "close" and own_scheme == "http":
                connection, source = environ.get("gunicorn.socket"), environ.get("wsgi.input")
                answer = app(environ, start_response)
                if connection is None or isinstance(answer, environ.get("wsgi.file_wrapper", ())):
                    return answer
                return _Drained(answer, connection, getattr(source, "reader", None))
        else:
            for name in _FORWARDED:
                if name in environ:
                    del environ[name]
            if not environ.get("REMOTE_ADDR"):  # a unix socket has none, and libraries read it
                environ["REMOTE_ADDR"], environ["REMOTE_PORT"] = "127.0.0.1", "0"
            environ["wsgi.url_scheme"] = own_scheme
        return app(environ, start_response)

    return told


def _has_body(environ):
    return environ.get("CONTENT_LENGTH") not in (None, "", "0") or "HTTP_TRANSFER_ENCODING" in environ


class _Drained(object):
    """An answer of an app, after which the rest of the request is read from a connection that is closed then."""

    def __init__(self, answer, connection, reader):
        self._answer = answer
        self._connection = connection
        self._reader = reader

    def __iter__(self):
        return iter(self._answer)

    def close(self):
        try:
            if hasattr(self._answer, "close"):
                self._answer.close()
        finally:
            # What gunicorn knows to be left of a body; of one in chunks it does not.
            if getattr(self._reader, "length", 1) > 0:
                self._drain()

    def _drain(self):
        if _monotonic is None:
            return
        until = _monotonic() + _DRAIN_S
        left = _MOST_DRAINED
        try:
            while left > 0 and _monotonic() < until:
                self._connection.settimeout(max(0.01, until - _monotonic()))
                part = self._connection.recv(min(left, 65536))
                if not part:
                    return
                left -= len(part)
        except (OSError, ValueError):
            pass
