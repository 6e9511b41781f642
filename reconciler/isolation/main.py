"""Run as `python -I -S main.py NAME=VALUE... -- COMMAND...`: confine this process, and become the command.

The proof is written to descriptor 4, or to that of `report`, which the command does not get; to none if that is 0.
Without a part that is required, nothing is run.
"""

import os
import sys

TYPE_CHECKING = False  # as that of `typing`, which takes a while to load
if TYPE_CHECKING:
    from collections.abc import Callable

    from reconciler.planning.isolation.confinement import Confinement

# Before the name of a variable that only the command is to have; those of ours have their names.
HELD_BACK, OURS = "+", "RECONCILER_"
LOG_VARIABLE = "RECONCILER_ACCESS_LOG"
REPORT, NO_REPORT = 4, 0
COUNTS = "counts"  # names the path of the namespace in which all apps count, for a process without rights
REFUSED, _NOT_EXECUTABLE, _NOT_FOUND = 78, 126, 127  # the last two as shells say it
_LISTS = {
    "ro": "visible", "rw": "writable", "hide": "hidden", "cell": "cells", "shut": "shut", "alone": "alone",
    "fixed": "fixed", "require": "required", "own": "owned", "mix": "mixed", "grant": "granted", "open": "opened",
    "share": "shared", "port": "ports", "map": "mapped",
}  # fmt: skip
_TEXTS = {
    "isolation": "isolation",
    "access": "access_log",
    "dir": "directory",
    "connects": "connects",
    "listens": "listens",
    "nouser": "no_user",
    "account": "account",
    "loose": "loose",
}
_NUMBERS = ("daemon", "uid", "gid")


def read(arguments: "list[str]") -> "dict[str, object]":
    """Return the fields of a confinement from its arguments."""
    lists: dict[str, list[str]] = {name: [] for name in _LISTS.values()}
    texts: dict[str, object] = dict.fromkeys(_TEXTS.values(), "")
    numbers: dict[str, object] = {"daemon": 0, "uid": None, "gid": None}
    for argument in arguments:
        name, _, value = argument.partition("=")
        if name in _LISTS:
            lists[_LISTS[name]].append(value)
        elif name in _TEXTS:
            texts[_TEXTS[name]] = value
        elif name in _NUMBERS:
            numbers[name] = int(value)
    return {**{name: tuple(each) for name, each in lists.items()}, **texts, **numbers}


def given_back(environment: "dict[str, str]") -> "dict[str, str]":
    """Return the variables of the command, from those that this process has."""
    ours = {name: value for name, value in environment.items() if name.startswith(OURS)}
    held = {name[len(HELD_BACK) :]: value for name, value in environment.items() if name.startswith(HELD_BACK)}
    return {**held, **ours}


def main(arguments: "list[str]", environment: "dict[str, str]") -> None:
    """Confine this process as its arguments say, and become the rest of them."""
    from reconciler.isolation.app_counts import enter_counts
    from reconciler.isolation.confine import confine

    middle = arguments.index("--")
    for path in [each.partition("=")[2] for each in arguments[:middle] if each.startswith(f"{COUNTS}=")]:
        enter_counts(path)
    given = given_by(arguments[:middle])
    command = arguments[middle + 1 :]
    report = _report(arguments[:middle])
    _keep_none_but(report)
    log = open_log(given)
    if log is not None:
        environment[LOG_VARIABLE] = str(log)
    prove(given, report, confine)
    try:
        os.chdir(given.directory or "/")
        os.execvpe(command[0], command, environment)  # noqa: S606  becoming the program is all there is to do
    except OSError as error:
        _say(f"cannot run {command[0]} in isolation: {error.strerror}")
        sys.exit(_NOT_FOUND if isinstance(error, FileNotFoundError) else _NOT_EXECUTABLE)


def given_by(arguments: "list[str]") -> "Confinement":
    """Return a confinement, from its arguments."""
    # A namespace: other ways to make one load slowly.
    return type(sys.implementation)(**read(arguments))  # type: ignore[return-value]


def prove(given: "Confinement", report: int, confine: "Callable[[Confinement], str]") -> None:
    """Confine this process for good, and tell the proof; end it if that fails, or lacks a part that is required."""
    try:
        proof = confine(given)
    except OSError as error:
        _say(f"cannot isolate it: {error.strerror}{f': {error.filename}' if error.filename else ''}")
        sys.exit(REFUSED)
    if report != NO_REPORT:
        os.write(report, proof.encode(errors="replace"))
    missing = [line.split(" ", 2)[1:] for line in proof.splitlines() if line.startswith("missing ")]
    lacking = [f'"{part}", and {why}' for part, why in missing if part in given.required]
    if lacking:
        if report == NO_REPORT:
            _say(f"isolation requires {'; '.join(lacking)}")
        sys.exit(REFUSED)


def open_log(given: "Confinement") -> "int | None":
    """Open the access log of a confinement for what it becomes; None without one, or if it cannot be opened."""
    if not given.access_log:
        return None
    try:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
        opened = os.open(given.access_log, flags, 0o600)
        os.set_inheritable(opened, True)
    except OSError:  # no app must stop for its log
        return None
    return opened


def _say(text: str) -> None:
    os.write(2, f"reconciler: {text}\n".encode(errors="backslashreplace"))


def _report(arguments: "list[str]") -> int:
    """Return the descriptor that the proof is written to."""
    given = [argument for argument in arguments if argument.startswith("report=")]
    return int(given[0].partition("=")[2]) if given else REPORT


def _keep_none_but(report: int) -> None:
    """Have the command inherit its listeners, which come before the report, and nothing else that is open."""
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208  pathlib would have to be loaded
        number = int(name)
        if number > max(3, report - 1):
            try:  # noqa: SIM105  contextlib would have to be loaded
                os.set_inheritable(number, False)
            except OSError:  # that of the listing
                pass


if __name__ == "__main__":
    sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))  # noqa: PTH100, PTH120
    main(sys.argv[1:], given_back(dict(os.environ)))
