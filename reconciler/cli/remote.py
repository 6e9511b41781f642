"""Run a command on another host over the system's ssh.

The words of the command pass unchanged, as do standard input, output and the exit code; the environment does not.
"""

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import NoReturn

import click

from reconciler.cli.failure import Failure
from reconciler.cli.options import HOST
from reconciler.linux.dataclass import dataclass
from reconciler.linux.error_words import in_words

_FORM = "ssh://[user@]server[:port][/path/of/reconciler]"
# No part may begin with a dash, which ssh would take for an option.
_URL = re.compile(
    r"ssh://(?:(?P<user>\w[\w.+-]*)@)?"
    r"(?P<server>\w[\w.-]*|\[[0-9A-Fa-f:.]+(?:%\w[\w.-]*)?\])"
    r"(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<path>/[!-~]*)?",
    re.ASCII,
)
_PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
# These exit as the program does that they run.
_EXIT_AS_A_PROGRAM = frozenset(("shell", "service-shell", "task"))


class NotThere(Failure):
    """The other host has no program of this name."""

    exit_code = 127

    def __init__(self, message: str) -> None:
        super().__init__("no-remote-program", message)


class Unreachable(Failure):
    """The command could not be run on the other host, which ssh has said why."""

    exit_code = 255

    def __init__(self, message: str) -> None:
        super().__init__("unreachable", message)


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteHost:
    """Another host: the target as ssh takes it, and the program to run there."""

    target: str
    port: int | None
    program: str

    def argv(self, words: Sequence[str], *, terminal: bool, plain: bool = False) -> list[str]:
        """Return the ssh command that runs these words of reconciler there; `plain` asks for no colours."""
        # A host whose environment names itself as the host to use would run this without end.
        there = ["env", "-u", "RECONCILER_HOST", *(["NO_COLOR=1"] if plain else []), self.program, *words]
        port = [] if self.port is None else ["-p", str(self.port)]
        # With a terminal, ssh would also tell of every connection that it closes.
        how = ["-t", "-o", "LogLevel=ERROR"] if terminal else ["-T"]
        return ["ssh", *port, *how, "--", self.target, shlex.join(there)]


def remote_host(url: str) -> RemoteHost:
    """Return the host that a URL names. Raises ValueError, with a message that repeats nothing of the URL."""
    found = _URL.fullmatch(url)
    if found is None:
        hint = "; ssh asks for passwords, a URL has none" if re.match(r"ssh://[^/@:]*+:[^/@]*+@", url) else ""
        raise ValueError(f"a host is given as {_FORM}{hint}")
    port = None if found["port"] is None else int(found["port"])
    if port is not None and not 0 < port < 65536:
        raise ValueError("the port of a host is between 1 and 65535")
    user = "" if found["user"] is None else f"{found['user']}@"
    return RemoteHost(target=f"{user}{found['server'].strip('[]')}", port=port, program=_program(found["path"] or "/"))


def _program(path: str) -> str:
    from urllib.parse import unquote

    program = unquote(path, errors="strict")
    if not program.isprintable():
        raise ValueError("the path of reconciler on the host has characters that cannot be printed")
    return "reconciler" if program == "/" else program


def run_there(url: str, words: Sequence[str], command: click.Command) -> NoReturn:
    """Run the words of a command on another host, and exit as it does.

    Raises ValueError for a URL that names no host, and ClickException if the command could not be run.
    """
    host = remote_host(url)
    terminal = all(os.isatty(stream) for stream in range(3))
    name, *rest = words
    passed = [name, *without_host(rest, command)]
    code = _ended(host.argv(passed, terminal=terminal, plain=terminal and bool(os.environ.get("NO_COLOR"))))
    if code == Unreachable.exit_code:
        raise Unreachable(f"cannot run this on {host.target}: see what ssh says above")
    if code == NotThere.exit_code and name not in _EXIT_AS_A_PROGRAM:
        example = f"ssh://{host.target}/opt/reconciler/bin/reconciler"
        raise NotThere(f"{host.target} has no program '{host.program}' on the PATH that ssh gives; name it: {example}")
    raise SystemExit(code)


def _ended(argv: Sequence[str]) -> int:
    """Run ssh to its end and return its exit code; signals to this process are passed on to it."""
    sys.stdout.flush()
    ssh: subprocess.Popen[bytes] | None = None
    received: list[int] = []

    def pass_on(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  Python calls it so
        received.append(number)
        if ssh is not None:
            ssh.send_signal(number)

    before = {number: signal.signal(number, pass_on) for number in _PASSED_ON if not _is_ignored(number)}
    try:
        ssh = subprocess.Popen(argv)
        for number in tuple(received):  # those that came before there was an ssh
            ssh.send_signal(number)
        code = ssh.wait()
    except OSError as error:
        raise click.ClickException(f"cannot run ssh: {in_words(error)}; it comes with OpenSSH's client") from error
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if received and code in {Unreachable.exit_code, -received[0]}:  # ssh calls its own end a failure
        return 128 + received[0]
    return code if code >= 0 else 128 - code


def _is_ignored(number: int) -> bool:
    return signal.getsignal(number) is signal.SIG_IGN


def without_host(words: Sequence[str], command: click.Command) -> list[str]:
    """Return the words after a command's name without --host and its value."""
    takes = _values_taken(command)
    kept: list[str] = []
    left = list(words)
    while left:
        word = left.pop(0)
        if word == "--" or not (_is_option(word) or command.context_settings.get("allow_interspersed_args", True)):
            return [*kept, word, *left]
        if word.partition("=")[0] == HOST:
            del left[: "=" not in word]
            continue
        count = _values_after(word, takes) if _is_option(word) else 0
        kept += [word, *left[:count]]
        del left[:count]
    return kept


def _is_option(word: str) -> bool:
    return word.startswith("-") and word != "-"


def _values_taken(command: click.Command) -> Mapping[str, int]:
    """Return how many values each option of a command takes, by all its names."""
    return {
        name: 0 if option.is_flag or option.count else option.nargs
        for option in command.params if isinstance(option, click.Option)
        for name in (*option.opts, *option.secondary_opts)
    }  # fmt: skip


def _values_after(word: str, takes: Mapping[str, int]) -> int:
    """Return how many of the words after an option are its values: none if it has its value in itself."""
    if word.startswith("--"):
        return takes.get(word, 0)
    for at, letter in enumerate(word[1:], 2):
        if count := takes.get(f"-{letter}", 0):
            return count - (at < len(word))
    return 0
