"""Read configuration files that a server reads by itself: gunicorn.conf.py, and the ini file of uWSGI.

gunicorn.conf.py is a program, which is not run: what it binds to a plain value can be adopted, the rest is reported.
"""

import ast
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import TypeGuard

from reconciler.linux.dataclass import dataclass
from reconciler.planning.apps.owned_settings import OWNED
from reconciler.staging.detection.syntax import Unparsed, parsed
from reconciler.staging.detection.text_file import text_of
from reconciler.staging.detection.web_line.options import Value, WebProcess, report, web_process_of
from reconciler.staging.detection.web_line.servers import SERVERS
from reconciler.staging.errors import StagingError

FILE = "gunicorn.conf.py"

_LARGEST_INI = 64 << 10
_ADOPTED = frozenset(SERVERS["gunicorn"].adopted.values())
# Settings of gunicorn that the daemon neither owns nor adopts; any other name belongs to the program in the file.
_OTHERS = frozenset((
    "backlog", "ca_certs", "cert_reqs", "certfile", "ciphers", "disable_redirect_access_to_syslog",
    "do_handshake_on_connect", "dogstatsd_tags", "enable_stdio_inheritance", "forwarder_headers", "header_map",
    "http_parser", "http_protocols", "keyfile", "logger_class", "permit_obsolete_folding",
    "permit_unconventional_http_method", "permit_unconventional_http_version", "proxy_allow_ips", "proxy_protocol",
    "raw_paste_global_conf", "root_path", "secure_scheme_headers", "ssl_version", "statsd_host", "statsd_prefix",
    "strip_header_spaces", "suppress_ragged_eofs", "syslog", "syslog_addr", "syslog_facility", "syslog_prefix",
    "tmp_upload_dir", "worker_tmp_dir",
))  # fmt: skip
_NAMES = frozenset((*_ADOPTED, *OWNED, *_OTHERS, "pythonpath"))
# Of a name and the setting that was probably meant: `worker_clas`, `log_level`, and not any shorter word in another.
_ALIKE = 0.85
# They change nothing here: the daemon logs, and serves, without being told.
_NOTHING_LOST = frozenset(("accesslog", "errorlog", "bind", "daemon", "proc_name", "pidfile", "capture_output"))


@dataclass(frozen=True, slots=True, kw_only=True)
class GunicornConfig:
    """What a configuration file of gunicorn says, as far as its text shows it; `reported` is what is not followed."""

    file: str
    wsgi_app: str | None = None
    worker_class: str | None = None
    pythonpath: tuple[str, ...] = ()
    settings: Mapping[str, Value] = field(default_factory=dict)
    reported: tuple[str, ...] = ()


def gunicorn_config(code: Path, directory: str, named: str | None = None) -> GunicornConfig | None:
    """Return the configuration file of the code that gunicorn would read when started in a directory of it.

    `named` is the file on its command line. None if there is none; raises StagingError if the named one is absent.
    """
    for name in _candidates(directory, named):
        try:
            text = text_of(code / name, name)
        except FileNotFoundError:
            continue
        return _read(name, text)
    if named is not None:
        return GunicornConfig(file=named, reported=(report("--config", named, "config"),))
    return None


def uwsgi_ini(directory: Path, name: str) -> WebProcess | None:
    """Return the web process that an ini file of uWSGI configures; None if it names no app."""
    import configparser  # few apps have an ini file

    parser = configparser.RawConfigParser(strict=False, allow_no_value=True, delimiters=("=",))
    try:
        parser.read_string(text_of(directory / name, name)[:_LARGEST_INI])
        options = dict(parser.items("uwsgi"))
    except (OSError, configparser.Error, StagingError):
        return None
    words = [word for option, value in options.items() for word in _uwsgi_words(option, value)]
    found = web_process_of("uwsgi", SERVERS["uwsgi"], words)
    return None if found is None or found.kind == "config" else found


def _uwsgi_words(option: str, value: str | None) -> Iterator[str]:
    flag = f"--{option}" in SERVERS["uwsgi"].flags
    yield f"--{option}" if flag or value is None else f"--{option}={value}"


def _candidates(directory: str, named: str | None) -> Iterator[str]:
    if named is None:
        names = (FILE,)
    elif named.startswith("python:"):
        names = (f"{named.removeprefix('python:').replace('.', '/')}.py",)
    else:
        names = (named.removeprefix("file:"),)
    for name in names:
        yield posixpath.normpath(posixpath.join(directory, name)).lstrip("/")
        if directory:
            yield posixpath.normpath(name).lstrip("/")


def _read(file: str, text: str) -> GunicornConfig:
    try:
        body = parsed(text.encode(), file)
    except Unparsed:
        return GunicornConfig(file=file, reported=(f"{file} (this Python cannot read it; use the field 'gunicorn')",))
    bound = {name: value for statement in body for name, value in _bindings(statement)}
    settings: dict[str, Value] = {}
    texts: dict[str, str] = {}
    reported: list[str] = []
    for name, value in bound.items():
        plain = _plain(value)
        if name in _ADOPTED and plain is not None:
            settings[name] = plain
        elif name in {"wsgi_app", "worker_class", "pythonpath"} and isinstance(plain, str):
            texts[name] = plain
        elif name in _ADOPTED or (name in OWNED and name not in _NOTHING_LOST) or name in _OTHERS:
            reported.append(report(f"{name} of {file}", "", name))
    reported += _misspelt(file, body, [name for name in bound if name not in _NAMES])
    return GunicornConfig(
        file=file,
        wsgi_app=texts.get("wsgi_app"),
        worker_class=texts.get("worker_class"),
        pythonpath=tuple(path for path in texts.get("pythonpath", "").split(",") if path and not path.startswith("/")),
        settings=settings,
        reported=tuple(reported),
    )


def _misspelt(file: str, body: Sequence[ast.stmt], unknown: Sequence[str]) -> Iterator[str]:
    """Yield the report of each unknown name that is nearly one of a setting; gunicorn passes over it without a word.

    A name that the file uses is a variable of its own.
    """
    from difflib import get_close_matches  # few files have such names

    names = {each.id for statement in body for each in ast.walk(statement) if _is_read(each)} if unknown else ()
    for name in unknown:
        meant = get_close_matches(name, _NAMES, n=1, cutoff=_ALIKE) if name not in names else ()
        if meant:
            yield f"{name} of {file} (gunicorn has no such setting; did you mean {meant[0]}?)"


def _is_read(node: ast.AST) -> TypeGuard[ast.Name]:
    return isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)


def _bindings(statement: ast.stmt) -> Iterator[tuple[str, ast.expr | None]]:
    match statement:
        case ast.Assign(targets=targets, value=value):
            yield from ((target.id, value) for target in targets if isinstance(target, ast.Name))
        case ast.AnnAssign(target=ast.Name(id=name), value=value):
            yield name, value
        case ast.FunctionDef(name=name):
            yield name, None
        case ast.If() | ast.Try() | ast.With():
            inner = [part for part in ast.walk(statement) if isinstance(part, ast.Assign)]
            # Which branch runs is not known: the names count, their values do not.
            yield from ((target.id, None) for part in inner for target in part.targets if isinstance(target, ast.Name))
        case _:
            pass


def _plain(value: ast.expr | None) -> Value | None:
    """Return the value of an expression that is plain text, a number or a truth value; None for any other."""
    try:
        found = ast.literal_eval(value) if value is not None else None
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None
    return found if isinstance(found, str | int | float | bool) else None
