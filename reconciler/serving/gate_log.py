"""Keep the daemon's probes out of the access log, as long as they succeed. Loaded by gate.py, on Python 2.7 as well.

gunicorn's workers write the log through one method, which is told of the request. Those of uvicorn write it themselves,
without the request's headers: there, the wrapper of the app says that it is at a probe.
"""

import io
import logging
import sys

_AGENT = "reconciler-health"


def guard(gate, worker):
    """Filter what the worker writes to its access log, and have it written where the instance was given a place."""
    if gate.access_log:
        _write_to(int(gate.access_log), worker.log)
    if gate.path is None or gate.logs_probes:
        return
    log = worker.log
    write = log.access

    def access(resp, req, environ, request_time):
        if not _is_proven(gate.path, resp, environ):
            write(resp, req, environ, request_time)

    log.access = access
    logging.getLogger("uvicorn.access").addFilter(_Probes(gate))


def _write_to(descriptor, log):
    """Have the access log that goes to standard output go to a descriptor."""
    for handler in getattr(getattr(log, "access_log", None), "handlers", ()):
        if type(handler) is logging.StreamHandler and handler.stream is sys.stdout:
            handler.stream = io.open(descriptor, "a", encoding="utf-8", closefd=False)  # noqa: SIM115  as long as the worker


def _is_proven(path, resp, environ):
    """Whether this is an answer of success to a probe."""
    return (
        environ.get("HTTP_USER_AGENT") == _AGENT
        and environ.get("RAW_URI", path) == path
        and str(getattr(resp, "status", "")).startswith("2")
    )


class _Probes(logging.Filter):
    """A filter of uvicorn's lines: client, method, path, version and status."""

    def __init__(self, gate):
        logging.Filter.__init__(self)
        self._gate = gate

    def filter(self, record):
        status = record.args[-1] if isinstance(record.args, tuple) and record.args else ""
        return not (self._gate.is_probed() and str(status).startswith("2"))
