"""Detect the entry point of an app, without importing its code.

What the app says comes before what can be guessed. The first that exists wins: the manifest's `entrypoint`, the web
line of a `Procfile`, `wsgi_app` in `gunicorn.conf.py`, `wsgi.py`, a Django project at the top, `asgi.py`, what
`.flaskenv` or `pyproject.toml` name, one app object in `app.py`, `main.py` or `server.py`, the same below `src/`, a
Django project one or two directories down, and what only some tools look for. If the dependency file is in a directory
of its own, that directory is searched first.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from reconciler.linux.dataclass import dataclass
from reconciler.staging.detection import conventions, django, tables
from reconciler.staging.detection.conventions import served_module
from reconciler.staging.detection.gunicorn_config import FILE as CONFIG_FILE
from reconciler.staging.detection.gunicorn_config import GunicornConfig, gunicorn_config
from reconciler.staging.detection.procfile import FILE, Procfile, read_procfile
from reconciler.staging.detection.pyproject import tool_table
from reconciler.staging.detection.shown_text import quoted
from reconciler.staging.detection.target import EntryPoint, contains, resolve
from reconciler.staging.detection.web_line.command import absent_file, understand
from reconciler.staging.detection.web_line.options import WebProcess
from reconciler.staging.errors import StagingError

__all__ = ["EntryPoint", "detect"]

_WEB_LINE = f"the web line of {FILE}"
_MAX_LISTED = 12


def detect(code: Path, manifest: str | None, directory: str = "") -> EntryPoint:
    """Return the entry point of the app in `code`; raises StagingError that lists what was searched for.

    `manifest` is the manifest's `entrypoint`, `directory` the one of the code that holds the dependency file: several
    apps can share a source tree.
    """
    procfile = read_procfile(code)
    web = _read_web_line(procfile, code)
    if _is_beside_dependencies(code, manifest, directory, web):
        try:
            found = detect(code / directory, manifest)
        except _NotFound:
            return detect(code, manifest)
        outside = (web.not_followed(f"the app is in {directory}"),) if web is not None else ()
        return replace(
            found,
            reported=(*outside, *found.reported, *_lines(procfile, code)),
            release=found.release or _release(procfile, code, f"{directory}/{found.chdir}"),
            chdir=f"{directory}/{found.chdir}".rstrip("/"),
            pythonpath=tuple(f"{directory}/{path}".rstrip("/") for path in found.pythonpath),
        )
    found = _found(code, manifest, web)
    lines = _lines(procfile, code)
    found = replace(found, reported=(*found.reported, *lines), release=_release(procfile, code, found.chdir))
    return _with_config(found, web, code)


class _NotFound(StagingError):
    """The code has nothing that a server could load."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _WebLine:
    """The web line of a Procfile: what it starts, None if that cannot be told."""

    line: str
    process: WebProcess | None

    def not_followed(self, reason: str) -> str:
        return f"{_WEB_LINE}, {quoted(self.line)} ({reason})"


def _read_web_line(procfile: Procfile | None, code: Path) -> _WebLine | None:
    if procfile is None or procfile.web is None:
        return None
    return _WebLine(line=procfile.web, process=understand(procfile.web, code))


def _is_beside_dependencies(code: Path, manifest: str | None, directory: str, web: _WebLine | None) -> bool:
    """Tell whether to search the directory of the dependency file: a web line may lead there itself."""
    if not directory or directory == ".":
        return False
    if manifest is not None:
        return contains(code / directory, manifest)
    leads_there = web is not None and web.process is not None and f"{web.process.chdir}/".startswith(f"{directory}/")
    return not leads_there or (code / directory / FILE).is_file()


def _lines(procfile: Procfile | None, code: Path) -> Iterator[str]:
    """Yield the report of each line of a Procfile that is not followed, but the web line."""
    if procfile is None:
        return
    absent = _absent_in_release(procfile, code)
    if absent is not None and procfile.release is not None:
        yield f"the release line of {FILE}, {quoted(procfile.release)} (there is no {absent} in the source)"
    yield from procfile.others()


def _absent_in_release(procfile: Procfile, code: Path) -> str | None:
    return None if procfile.release is None else absent_file(procfile.release, code)


def _release(procfile: Procfile | None, code: Path, chdir: str) -> str:
    """Return the release line of a Procfile, which is meant for the top, as a command for a directory of the code."""
    if procfile is None or procfile.release is None or _absent_in_release(procfile, code) is not None:
        return ""
    up = "/".join(".." for part in chdir.split("/") if part)
    return f"cd {up} && {procfile.release}" if up else procfile.release


def _found(code: Path, manifest: str | None, web: _WebLine | None) -> EntryPoint:
    from reconciler.staging.detection.served_by import NotFollowed

    if manifest is not None:
        found = resolve(code, manifest)
        return found if web is None else replace(found, reported=(web.not_followed("`entrypoint` is set"),))
    if web is None:
        return _guessed(code) or _fail(code, "")
    try:
        if web.process is not None:
            found = _of_web_line(code, web.process)
            if not found.installed:
                return found
            guessed, reason = _guessed(code), f"there is no {found.target.partition(':')[0]} in the source"
            if guessed is None:
                return found
        else:
            guessed, reason = _guessed(code), "it cannot be understood"
    except NotFollowed as error:
        guessed, reason = _guessed(code), str(error)
    if guessed is None:
        return _fail(code, f"{_WEB_LINE}, {quoted(web.line)}, is not followed: {reason}")
    return replace(guessed, reported=(web.not_followed(f"{reason}; set `entrypoint`"), *guessed.reported))


def _of_web_line(code: Path, process: WebProcess) -> EntryPoint:
    from reconciler.staging.detection.served_by import entry_of

    if process.kind == "config" and process.server == "gunicorn":
        config = gunicorn_config(code, process.chdir, process.config)
        if config is not None and config.wsgi_app:
            process = replace(process, kind="object", target=config.wsgi_app)
    return entry_of(process, code, _WEB_LINE)


def _guessed(code: Path) -> EntryPoint | None:
    """Return the entry point that the files of the code suggest, the surest first."""
    return (
        _configured(code)
        or served_module(code, "wsgi", "wsgi")
        or _django(code, (0,))
        or served_module(code, "asgi", "asgi")
        or _named_by_framework(code)
        or conventions.one_object(code)
        or conventions.below_sources(code)
        or _django(code, (1, 2))
        or conventions.elsewhere(code)
    )


def _configured(code: Path) -> EntryPoint | None:
    config = gunicorn_config(code, "")
    if config is None or config.wsgi_app is None:
        return None
    return resolve(code, config.wsgi_app, f"wsgi_app in {CONFIG_FILE}")


def _named_by_framework(code: Path) -> EntryPoint | None:
    """Return the app that Flask's or FastAPI's own tool would run, where a file of the code tells it."""
    from reconciler.staging.detection.served_by import NotFollowed, flask_app, flask_entry

    app = flask_app(code)
    if app is not None:
        with suppress(NotFollowed):
            return flask_entry(code, app, "FLASK_APP in .flaskenv")
    target = tables.text("pyproject.toml", tool_table(code, "fastapi"), "entrypoint", "")
    return resolve(code, target, "tool.fastapi in pyproject.toml") if target and contains(code, target) else None


def _django(code: Path, depths: tuple[int, ...]) -> EntryPoint | None:
    for depth in depths:
        projects = _projects(code, depth)
        if len(projects) > 1:
            names = ", ".join(str(found.relative_to(code)) for found in projects)
            raise StagingError(f"cannot choose between {names}: set `entrypoint`, and `path` to one of them")
        for manage in projects:
            found = django.entry(manage, code)
            if found is not None:
                return found
    return None


def _projects(code: Path, depth: int) -> list[Path]:
    return [found for found in sorted(code.glob("*/" * depth + "manage.py")) if django.is_project(found)]


def _with_config(found: EntryPoint, web: _WebLine | None, code: Path) -> EntryPoint:
    """Return the entry point with what its gunicorn.conf.py sets; options of a command line override that."""
    process = web.process if web is not None and found.because == _WEB_LINE else None
    named = process.config if process is not None else None
    config = gunicorn_config(code, found.chdir, named)
    if config is None:
        return found
    if process is not None and process.server != "gunicorn":
        reported = f"{config.file} ({process.server} of {_WEB_LINE} does not read it)"
        return replace(found, reported=(*found.reported, reported))
    return _merged(found, config)


def _merged(found: EntryPoint, config: GunicornConfig) -> EntryPoint:
    worker_class = found.worker_class or config.worker_class
    prefix = f"{found.chdir}/" if found.chdir else ""
    return replace(
        found,
        interface="asgi" if (worker_class or "").startswith("uvicorn") else found.interface,
        worker_class=worker_class,
        pythonpath=(*found.pythonpath, *(f"{prefix}{path}" for path in config.pythonpath)),
        gunicorn={**config.settings, **found.gunicorn},
        reported=(*found.reported, *config.reported),
    )


def _fail(code: Path, also: str) -> EntryPoint:
    searched = (
        "searched for a web line of a Procfile that starts an app; wsgi.py or asgi.py with `application` or `app`;"
        " a Django project (manage.py with its settings) at most two directories down; a WSGI or ASGI app object, or a"
        " factory such as create_app(), in app.py, main.py, server.py, another file at the top or a package; the same"
        " below src/"
    )
    absent = (django.missing_settings(manage, code) for depth in (0, 1, 2) for manage in _projects(code, depth))
    known = "; ".join(each for each in (also, *absent, *conventions.syntax_errors(code)) if each)
    raise _NotFound(
        f"cannot find the entry point: {known or searched}. The source contains {_listed(code)}."
        " Set `entrypoint: module:callable` in the manifest, or `web: false` if it has processes or schedules alone"
    )


def _listed(code: Path) -> str:
    """Return what the source contains, packages and Python files first."""
    entries = [path for path in code.iterdir() if not path.name.startswith(".")]
    ranked = sorted(entries, key=lambda path: (not path.is_dir(), path.suffix != ".py", path.name))
    names = [f"{path.name}/" if path.is_dir() else path.name for path in ranked]
    more = f" and {len(names) - _MAX_LISTED} more" if len(names) > _MAX_LISTED else ""
    return f"{', '.join(names[:_MAX_LISTED])}{more}" if names else "no files"
