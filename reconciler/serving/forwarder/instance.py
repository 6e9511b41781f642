"""Run one instance of an app that is a program of its own: start it, ask whether it is ready, forward to it, end it.

The program listens at a private address. It gets no client before it has passed its gate; when the instance is told to
stop, no further connection is accepted, those that are there are finished, and only then the program is told to stop.
"""

import contextlib
import json
import os
import re
import select
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from reconciler.linux.error_words import in_words
from reconciler.linux.open_files import allow_many_open_files
from reconciler.linux.regular_files import read_own
from reconciler.serving.forwarder.child import CANNOT_START, Child
from reconciler.serving.forwarder.command_line import expanded
from reconciler.serving.forwarder.connections import Connections, figures_of
from reconciler.serving.forwarder.endpoints import Endpoint, endpoint_of
from reconciler.serving.forwarder.gate import Gate, Refused
from reconciler.serving.forwarder.output import Output
from reconciler.serving.forwarder.readiness import ask

_FIRST_NAP_S = 0.02
_LONGEST_NAP_S = 1.0
_SILENT_S = 2.0  # until what is normal while a program starts is worth telling
_LINGER_S = 2.5  # for clients with an idle connection to learn that it is their last
_TICK_S = 0.05
_REST_S = 1.0
_LAST_WORDS_S = 0.2
_LISTENER = 3
_BOOT_ERROR = 3  # as gunicorn's
_FOREGROUND = "it has to stay in the foreground"
_MOST_OF_SETTINGS = 1 << 20
# What a program says that takes descriptor 3 for a listening socket, where it is none.
_OF_DESCRIPTOR = re.compile(r"EINVAL|EBADF|ENOTSOCK|Bad file descriptor|not a socket|LISTEN_FDS", re.IGNORECASE)
_HINT = "; if it takes its listening socket as descriptor 3, write `listen: descriptor` in the manifest"
_OF_ACTIVATION = ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "PORT", "SOCKET")


class Settings:
    """What the daemon wrote about an instance; `health_path` is None if it is not asked.

    In the `foreground` no daemon watches: it ends by itself when its start timeout is over.
    """

    app: str
    command: list[str]
    listen: str
    listeners: int
    directory: str
    readiness: str
    scratch: str
    wakeup_file: str
    log: str
    health_path: str | None
    health_host: str
    health_timeout_s: float
    start_timeout_s: float
    stop_timeout_s: float
    foreground: bool

    def __init__(self, path: str) -> None:
        """Read a file. Raises OSError, ValueError, KeyError."""
        found: dict[str, Any] = json.loads(read_own(path, _MOST_OF_SETTINGS))
        found = {"foreground": False, "listeners": 1, "wakeup_file": "", **found}  # written by an earlier version
        for name in self.__annotations__:
            setattr(self, name, found[name])


def serve(settings: Settings, instance: str) -> NoReturn:
    """Serve as this instance; ends the process."""
    directory = os.path.join(settings.readiness, instance)  # noqa: PTH118  as its gate writes it
    gate = Gate(
        directory=directory,
        wakeup_file=settings.wakeup_file,
        path=settings.health_path,
        host=settings.health_host,
        timeout_s=settings.health_timeout_s,
        start_timeout_s=settings.start_timeout_s,
    )
    try:
        endpoint = endpoint_of(settings.listen, Path(directory), Path(settings.scratch))
    except OSError as error:
        gate.reject(f"its private address cannot be opened: {in_words(error)}")
        os._exit(_BOOT_ERROR)
    _Instance(settings, gate, endpoint, Path(directory)).run()


class _Told(BaseException):
    """The daemon told the instance to stop before it was ready."""


class _Instance:
    def __init__(self, settings: Settings, gate: Gate, endpoint: Endpoint, directory: Path) -> None:
        self._settings = settings
        self._gate = gate
        self._endpoint = endpoint
        self._directory = directory
        self._told_at: float | None = None
        self._is_ready = False

    def run(self) -> NoReturn:
        listeners = [socket.socket(fileno=_LISTENER + number) for number in range(self._settings.listeners)]
        for listener in listeners:
            listener.set_inheritable(False)
        for number in (signal.SIGHUP, signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_IGN)
        self._gate.name_program(os.path.basename(self._settings.command[0]))  # noqa: PTH119  a word
        reading, writing = os.pipe()
        child = self._started(writing)
        os.close(writing)
        output = Output(reading, self._settings.log)
        signal.signal(signal.SIGUSR1, lambda *_: output.reopen())
        allow_many_open_files()  # each client costs two; the program keeps the limits that it was given
        try:
            signal.signal(signal.SIGTERM, self._on_term)
            self._until_ready(child, output)
        except _Told:
            self._end_unready(child)
        if remark := self._endpoint.remark():
            self._gate.log(remark)
        if self._endpoint.descriptor is not None:
            self._endpoint.descriptor.close()
            self._endpoint.descriptor = None
        self._forward(listeners, child, output)

    def _started(self, writing: int) -> Child:
        variables = {name: value for name, value in os.environ.items() if name not in _OF_ACTIVATION}
        if self._settings.listen == "descriptor":
            variables["PORT"] = os.environ.get("PORT", "")
        variables |= self._endpoint.variables
        command = expanded(self._settings.command, variables)
        handed = self._endpoint.descriptor
        listener = None if handed is None else handed.fileno()
        return Child(command, variables, directory=self._settings.directory, listener=listener, output=writing)

    def _on_term(self, *_: object) -> None:
        if self._told_at is not None:
            return  # told once more
        self._told_at = time.monotonic()
        if not self._is_ready:
            raise _Told

    def _until_ready(self, child: Child, output: Output) -> None:
        """Ask again and again: the daemon ends an instance whose start timeout is over. Raises _Told."""
        nap, began = _FIRST_NAP_S, time.monotonic()
        while True:
            if child.is_over():
                self._fail(child, output)
            try:
                ask(self._gate, self._endpoint, child.ends)
                break
            except Refused as refused:
                if child.is_over():
                    continue
                if time.monotonic() - began > _SILENT_S or str(refused).startswith("GET"):
                    self._gate.tell(str(refused))
                if self._settings.foreground and time.monotonic() - began > self._settings.start_timeout_s:
                    self._gate.log(f"gave up after {self._settings.start_timeout_s:g} s: {refused}")
                    self._end_unready(child, _BOOT_ERROR)
            nap = min(nap * 1.5, _LONGEST_NAP_S)
            select.select([child.ends], [], [], nap)
        if child.is_over():
            self._fail(child, output)
        self._is_ready = True
        if self._told_at is not None:
            raise _Told

    def _fail(self, child: Child, output: Output) -> NoReturn:
        """Say why the program ended before it was ready, and end."""
        output.ended(_REST_S)
        said = output.why()
        how = f"{child.name} {child.end()} before it was ready"
        if child.ended_well():
            self._gate.reject(f"{how}: {_FOREGROUND}{f' (it said: {said})' if said else ''}")
        elif said.startswith(CANNOT_START):
            self._gate.reject(said)
        else:
            hint = _HINT if self._settings.listen != "descriptor" and _OF_DESCRIPTOR.search(said) else ""
            self._gate.reject(f"{how}: {said}{hint}" if said else how)
        self._endpoint.close()
        os._exit(_BOOT_ERROR)

    def _end_unready(self, child: Child, code: int = 0) -> NoReturn:
        child.signal(signal.SIGTERM)
        while not child.is_over():
            select.select([child.ends], [], [], _REST_S)
        self._endpoint.close()
        os._exit(code)

    def _forward(self, listeners: Sequence[socket.socket], child: Child, output: Output) -> NoReturn:
        woken, wakes = os.pipe()
        os.set_blocking(wakes, False)
        os.set_blocking(woken, False)
        signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
        self._gate.write(str(os.getpid()), "")
        figures = figures_of(str(self._directory))
        connections = Connections(listeners, self._endpoint, figures, child.is_ending)
        connections.watch(woken, lambda: _emptied(woken))
        connections.watch(child.ends, lambda: None)
        connections.begin()
        self._gate.let_in(child.pid)  # under the pid that operators see
        if self._gate.is_unwanted():
            self._told_at = time.monotonic()
        while self._told_at is None and not child.is_over():
            connections.step(None)
        connections.stop()
        if not child.is_over():
            self._let_go(connections, child)
        self._end(connections, child, output)

    def _let_go(self, connections: Connections, child: Child) -> None:
        """Finish what clients wait for, then tell the program to stop; return when it has."""
        assert self._told_at is not None
        stop_s = self._settings.stop_timeout_s
        finished_by = self._told_at + max(0.0, stop_s - max(1.0, min(5.0, stop_s / 4)))
        linger_until = self._told_at + min(_LINGER_S, stop_s / 2)
        told = False
        while not child.is_over():
            now = time.monotonic()
            pairs = connections.pairs()
            is_busy = any(pair.is_busy(now) for pair in pairs)
            if not told and (now >= finished_by or (not is_busy and (not pairs or now >= linger_until))):
                told = True
                for pair in pairs:
                    if not pair.answers.opaque and not pair.is_busy(now):
                        connections.let_go(pair)
                child.signal(signal.SIGTERM)
            connections.step(_TICK_S)

    def _end(self, connections: Connections, child: Child, output: Output) -> NoReturn:
        """Pass on what the program said last, and end as it did, unless it was told to."""
        connections.unwatch(child.ends)  # it stays readable
        until = time.monotonic() + (_LAST_WORDS_S if self._told_at is None else _REST_S)
        while connections.pairs() and time.monotonic() < until:
            connections.step(_TICK_S)
        connections.close()
        output.ended(_REST_S)
        self._gate.rename(str(child.pid), f"done-{child.pid}")
        self._endpoint.close()
        if self._told_at is not None:
            os._exit(0)
        self._gate.log(f"{child.name} {child.end()}")
        child.end_alike()
        os._exit(1)


def _emptied(pipe: int) -> None:
    with contextlib.suppress(BlockingIOError):
        while os.read(pipe, 512):
            pass


def main(arguments: list[str], environ: Mapping[str, str]) -> NoReturn:
    """Run as the program of an instance: the argument is the file of its settings."""
    sys.stderr.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    serve(
        Settings(arguments[0]), environ["RECONCILER_INSTANCE"]
    )  # that of marks, which imports more than serving needs
