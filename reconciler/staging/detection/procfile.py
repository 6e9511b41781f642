"""Read a Procfile: the command lines of its processes, by name, and the web process among them.

The first line of a name counts. Piku's `wsgi` line stands for a web line, as gunicorn's own words would.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from reconciler.linux.dataclass import dataclass
from reconciler.staging.detection.shown_text import shown
from reconciler.staging.detection.text_file import text_of
from reconciler.staging.detection.web_line.command import understand
from reconciler.staging.detection.web_line.options import WebProcess

FILE = "Procfile"

_LINE = re.compile(r"[ \t]*(?P<name>[A-Za-z0-9_-]+)[ \t]*:[ \t]*(?P<command>[^\s#].*)")
_MAX_REPORTED = 20
_WRITE: Mapping[str, str] = {
    "cron": "use the field 'schedules'",
    "static": "serve the files by the proxy in front, or by the app",
    "preflight": "use the field 'release'",
    "postdeploy": "use the field 'release'",
    "console": "use `reconciler shell`",
    "shell": "use `reconciler shell`",
}
_RUN_IT = "`processes: {{{name}: 1}}` in the manifest runs it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Procfile:
    """The command lines of a Procfile by process."""

    processes: Mapping[str, str]

    @property
    def web(self) -> str | None:
        """The command of the web process; None if there is none."""
        if "web" in self.processes:
            return self.processes["web"]
        return f"gunicorn {self.processes['wsgi']}" if "wsgi" in self.processes else None

    @property
    def release(self) -> str | None:
        """The command that runs in each new build."""
        return self.processes.get("release")

    def other_lines(self) -> dict[str, str]:
        """Return the lines that neither start the web server nor run in each new build."""
        used = {"web", "release"} if "web" in self.processes else {"web", "release", "wsgi"}
        return {name: line for name, line in self.processes.items() if name not in used}

    def others(self) -> Iterator[str]:
        """Yield the report of every other process, which the daemon runs only if the manifest names it."""
        names = list(self.other_lines())
        for name in names[:_MAX_REPORTED]:
            advice = _WRITE.get(name) or _RUN_IT.format(name=name)
            yield f"{_report_of(name)}{shown(self.processes[name])} ({advice})"
        if len(names) > _MAX_REPORTED:
            yield f"{len(names) - _MAX_REPORTED} more lines of {FILE}"


def _report_of(name: str) -> str:
    return f"the {name} line of {FILE}: "


def without_used(reported: Sequence[str], processes: Collection[str]) -> tuple[str, ...]:
    """Leave out of what was reported of a source the lines of its Procfile that the manifest's processes use."""
    used = tuple(map(_report_of, processes))
    return tuple(report for report in reported if not report.startswith(used))


def read_procfile(code: Path) -> Procfile | None:
    """Return the Procfile of the code, None if there is none; raises StagingError."""
    try:
        text = text_of(code / FILE, FILE)
    except FileNotFoundError:
        return None
    processes: dict[str, str] = {}
    for line in text.splitlines():
        match = _LINE.fullmatch(line)
        if match is not None:
            processes.setdefault(match["name"], match["command"].strip())
    return Procfile(processes=processes)


def web_process(code: Path) -> WebProcess | None:
    """Return the web process of the code's Procfile if it can be told; raises StagingError."""
    procfile = read_procfile(code)
    return understand(procfile.web, code) if procfile is not None and procfile.web is not None else None
