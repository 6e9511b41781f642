"""Say what this process becomes to run an app in the foreground: its web server, one of its processes, or a command."""

import os
import sys
import time
from collections.abc import Mapping
from dataclasses import field, replace
from pathlib import Path

from reconciler.host.app_places import Place
from reconciler.linux.dataclass import dataclass
from reconciler.linux.package_files import package_directory
from reconciler.planning.address import Address
from reconciler.planning.command_line import NoCommand, command_of
from reconciler.planning.processes.process import AppProcess
from reconciler.processes.programs import ProcessPlace
from reconciler.serving.live_instance import CannotStart
from reconciler.serving.marks import STATE_MARK, Identity
from reconciler.serving.programs.registry import program_of
from reconciler.serving.sandbox import SANDBOX_VARIABLE

_TERMINAL = ("TERM", "COLORTERM", "COLUMNS", "LINES", "NO_COLOR")


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreground:
    """What to become, with which variables, and where it listens.

    `lock` is the descriptor that it holds as long as it lives. `isolated` says whether it is as isolated as its app
    asks for.
    """

    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)
    address: Address | None = None
    lock: int = -1
    isolated: bool = True


def web_server(place: Place, directory: Path, state: str, workers: int) -> Foreground:
    """Return the web server of a place, with so many workers; the listener is descriptor 3. Raises CannotStart."""
    identity = _identity(directory, state)
    program = program_of(place.revision, place.code, place.paths, place.given, place.sandbox, workers)
    (place.paths.readiness / identity.instance).mkdir(mode=0o700)
    found = _foreground(program.argv, program.environment(identity), place, identity)
    return replace(found, address=program.address)


def process(place: Place, directory: Path, state: str, asked: AppProcess, given: Mapping[str, str]) -> Foreground:
    """Return one of the app's processes; `given` are the variables that it takes from files of its own."""
    words = asked.process.command
    assert words is not None
    identity = _identity(directory, state)
    running = ProcessPlace(asked=asked, slot=1, place=place, command=words, secrets=given)
    return _foreground(running.launched(words), running.environment(identity), place, identity)


def command(place: Place, directory: Path, state: str, words: tuple[str, ...]) -> Foreground:
    """Return a command, run as an instance runs, but without a listener and with this terminal."""
    identity = _identity(directory, state)
    launcher = str(package_directory("reconciler.serving") / "launcher.py")
    python = (place.code.python,) if place.code.python else (sys.executable, "-I", "-S")
    argv = (*python, launcher, place.code.directory, "--", *words)
    terminal = {name: os.environ[name] for name in _TERMINAL if name in os.environ}
    return _foreground(argv, {**place.environment(identity), **terminal}, place, identity)


def process_of(asked: AppProcess, lines: Mapping[str, str]) -> AppProcess:
    """Return a process with its command, from the Procfile's `lines` if its manifest has none. Raises CannotStart."""
    name = asked.process.name
    if asked.process.command is not None:
        return asked
    try:
        found = command_of(lines[name])
    except KeyError:
        raise CannotStart(f'the Procfile has no line "{name}", and its manifest no command for it') from None
    except NoCommand as error:
        raise CannotStart(f'the line "{name}" of the Procfile {error}') from error
    return replace(asked, process=replace(asked.process, command=found))


def _identity(directory: Path, state: str) -> Identity:
    now = time.time()  # noqa: TID251  handed to the app for display
    return Identity(state=state, instance=directory.name, started_at=now)


def _foreground(argv: tuple[str, ...], variables: Mapping[str, str], place: Place, identity: Identity) -> Foreground:
    environment = {
        **place.sandbox.environment,
        **variables,
        **identity.marks(place.revision.app, place.revision.id),
        SANDBOX_VARIABLE: place.sandbox.as_variable(),
    }
    del environment[STATE_MARK]  # no daemon is to take it for an instance of its own
    return Foreground(argv=argv, environment=environment)
