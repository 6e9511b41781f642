"""Keep the daemon's probes out of the access log, as long as they succeed. Loaded by gate.py, on Python 2.7 as well.

gunicorn's workers write the log through one method, which is told of the request. Those of uvicorn write it themselves,
without the request's headers: there, the wrapper of the app says that it is at a probe.
"""

import logging

_AGENT = "reconciler-health"


def guard(gate, worker):
    """Filter what the worker writes to its access log."""
    if gate.path is None or gate.logs_probes:
        return
    log = worker.log
    write = log.access

    def access(resp, req, environ, request_time):
        if not _is_proven(gate.path, resp, environ):
            write(resp, req, environ, request_time)

    log.access = access
    logging.getLogger("uvicorn.access").addFilter(_Probes(gate))


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
