"""Read the web process of a Procfile: its entry point, and the gunicorn options that are adopted.

Only a web line that starts gunicorn or uvicorn counts. Options that the daemon owns are ignored and reported.
"""

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from reconciler.staging.detection.text_file import text_of
from reconciler.staging.errors import StagingError

Value: TypeAlias = "str | int | float | bool"

_WEB = re.compile(r"^\s*web\s*:\s*(?P<command>.+)$", re.MULTILINE)
_SERVERS = ("gunicorn", "uvicorn")
_WRAPPERS = frozenset(("exec", "uv", "poetry", "pipenv", "run", "python", "python2", "python3", "-m", "--"))
_TARGET = re.compile(r"[A-Za-z_][\w.]*(:[A-Za-z_][\w.]*(\(.*\))?)?")
_SHORT = {
    "-b": "--bind", "-w": "--workers", "-k": "--worker-class", "-t": "--timeout", "-c": "--config", "-e": "--env",
    "-n": "--name", "-p": "--pid", "-u": "--user", "-g": "--group", "-m": "--umask", "-D": "--daemon",
}  # fmt: skip
# Options without a value; every other takes one.
_FLAGS = frozenset(
    (
        *("--preload", "--daemon", "--reload", "--no-sendfile", "--capture-output", "--enable-stdio-inheritance"),
        *("--strip-header-spaces", "--proxy-protocol", "--spew", "--check-config", "--print-config", "--disable"),
        *("--no-control-socket", "--initgroups", "--reuse-port", "--log-syslog", "--proxy-headers", "--factory"),
        *("--no-proxy-headers", "--no-access-log", "--use-colors", "--no-use-colors", "--no-server-header"),
        *("--no-date-header", "--access-log", "--permit-unsafe-obsolete-folding", "--permit-obsolete-folding"),
    )
)
# The adopted options of gunicorn, with their settings. From the settings of gunicorn 19 to 27.
_GUNICORN_SETTINGS: Mapping[str, str] = {
    "--timeout": "timeout",
    "--keep-alive": "keepalive",
    "--max-requests": "max_requests",
    "--max-requests-jitter": "max_requests_jitter",
    "--worker-connections": "worker_connections",
    "--limit-request-line": "limit_request_line",
    "--limit-request-fields": "limit_request_fields",
    "--limit-request-field_size": "limit_request_field_size",
    "--forwarded-allow-ips": "forwarded_allow_ips",
    "--access-logformat": "access_log_format",
    "--log-level": "loglevel",
    "--preload": "preload_app",
    "--no-sendfile": "sendfile",
    "--umask": "umask",
}
_UVICORN_SETTINGS = {
    "--forwarded-allow-ips": "forwarded_allow_ips",
    "--log-level": "loglevel",
    "--timeout-keep-alive": "keepalive",
}
# Options that the daemon owns, and what to do instead.
_ALTERNATIVES: Mapping[str, str] = {
    "--workers": "set `workers` in the manifest",
    "--threads": "set `threads` in the manifest",
    "--bind": "the daemon opens the listening socket; set `host` and `port` in the manifest",
    "--host": "the daemon opens the listening socket; set `host` in the manifest",
    "--port": "the daemon opens the listening socket; set `port` in the manifest",
    "--env": "set `env` in the manifest",
    "--graceful-timeout": "set `stop_timeout` in the manifest",
    "--reload": "the daemon redeploys when the source changes",
    "--config": "put its settings under `gunicorn` in the manifest",
    "--user": "apps run as the daemon's user",
    "--group": "apps run as the daemon's user",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class WebProcess:
    """The web process of a Procfile: its target, directory and adopted gunicorn settings; `reported` was ignored."""

    target: str
    server: str
    chdir: str = ""
    pythonpath: tuple[str, ...] = ()
    worker_class: str | None = None
    settings: Mapping[str, Value] = field(default_factory=dict)
    reported: tuple[str, ...] = ()


def web_process(code: Path) -> WebProcess | None:
    """Return the web process of the code's Procfile if it starts gunicorn or uvicorn; raises StagingError."""
    try:
        text = text_of(code / "Procfile", "Procfile")
    except FileNotFoundError:
        return None
    line = _WEB.search(text)
    if line is None:
        return None
    try:
        words = shlex.split(line["command"], comments=True)
    except ValueError as error:
        raise StagingError(f"cannot read the web line of Procfile: {error}") from error
    return _parse(words)


def _parse(words: list[str]) -> WebProcess | None:
    chdir = ""
    if words[:1] == ["cd"] and "&&" in words:
        chdir, words = words[1], words[words.index("&&") + 1 :]
    while words and (words[0] in _WRAPPERS or re.fullmatch(r"\w+=\S*", words[0])):
        words = words[1:]
    server = words[0].rpartition("/")[2] if words else ""
    if server not in _SERVERS:
        return None
    line = _CommandLine(server)
    for option, value in _options(words[1:], line):
        line.add(option, value)
    if line.target is None:
        return None
    return WebProcess(
        target=line.target + ("()" if line.factory else ""),
        server=server,
        chdir=(line.chdir or chdir).strip("/").removeprefix("./"),
        pythonpath=line.pythonpath,
        worker_class=line.worker_class,
        settings=line.settings,
        reported=tuple(line.reported),
    )


class _CommandLine:
    """The command line of a server, read option by option."""

    def __init__(self, server: str) -> None:
        self._adopted = _GUNICORN_SETTINGS if server == "gunicorn" else _UVICORN_SETTINGS
        self.target: str | None = None
        self.chdir = ""
        self.pythonpath: tuple[str, ...] = ()
        self.worker_class: str | None = None
        self.factory = False
        self.settings: dict[str, Value] = {}
        self.reported: list[str] = []

    def add(self, option: str, value: str) -> None:
        match option:
            case "--chdir" | "--app-dir":
                self.chdir = value
            case "--pythonpath":
                self.pythonpath = tuple(path for path in value.split(",") if path)
            case "--worker-class":
                self.worker_class = value
            case "--factory":
                self.factory = True
            case _ if option in self._adopted and "$" not in value:
                self.settings[self._adopted[option]] = _value(option, value)
            case _:
                shown = f"{option} {value}".strip()
                self.reported.append(f"{shown} ({_ALTERNATIVES.get(option, 'the daemon sets it')})")


def _options(words: list[str], line: _CommandLine) -> Iterator[tuple[str, str]]:
    """Yield the options with their values; the first other word is the target."""
    remaining = iter(words)
    for word in remaining:
        if not word.startswith("-"):
            if line.target is None and _TARGET.fullmatch(word):
                line.target = word
            continue
        option, equals, value = word.partition("=")
        if not equals and not option.startswith("--") and len(option) > 2:
            option, equals, value = option[:2], "=", option[2:]
        option = _SHORT.get(option, option)
        if not equals and option not in _FLAGS:
            value = next(remaining, "")
        yield option, value


def _value(option: str, value: str) -> Value:
    if option == "--no-sendfile":
        return False
    if value == "":
        return True
    if option == "--umask" and re.fullmatch(r"0o?[0-7]{1,8}", value):
        return int(value.replace("o", ""), 8)
    return int(value) if re.fullmatch(r"[0-9]{1,18}", value) else value
