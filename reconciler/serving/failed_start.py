"""Say why an instance did not become ready: what its workers wrote, how they ended, or where they are.

What an app can write is read without following links, and no more of it than a message holds.
"""

import re
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from reconciler.linux.listing import names_in
from reconciler.planning.absent_packages import package_advice
from reconciler.planning.isolation.remedies import remedy
from reconciler.planning.wording import quoted
from reconciler.serving import logs
from reconciler.serving.live_instance import LiveInstance
from reconciler.serving.programs.program import Program

_TAIL_BYTES = 64 * 1024
_MOST_FILES = 5000
_SHOWN_EVERY_S = 5
_ANSWERED = re.compile(r"GET \S+ answered [1345]\d\d\b")
# What the gate says of an app that told nothing but a number as it ended itself.
_ENDED_ITSELF = re.compile(r"it ended its own process while it was imported, by sys\.exit(?:: \d+)?(?: \([^()]+\))?")
_IN_USE = re.compile(r"address already in use|EADDRINUSE", re.IGNORECASE)
_FRAME = re.compile(r'^  File "(?P<file>[^"\n]+)", line (?P<line>\d+) in ', re.MULTILINE)
_SERVERS = (
    "/werkzeug/serving.py", "/uvicorn/server.py", "/waitress/server.py", "/socketserver.py", "/hypercorn/run.py",
    "/aiohttp/web.py", "/tornado/platform/asyncio.py", "/cheroot/server.py", "/gevent/baseserver.py",
)  # fmt: skip


def why(program: Program, live: LiveInstance) -> str:
    """Return why an instance ended, or was rejected by its workers, in one line."""
    refusal, exited = live.refusal(), live.worker_exit()
    if refusal is not None:
        said = quoted(logs.last_words(live.log, live.log_start, live.code)) if _ENDED_ITSELF.fullmatch(refusal) else ""
        text = f"{refusal}{said}{package_advice(refusal)}"
    elif exited is not None:
        crash = logs.crash(live.log, live.log_start, live.code)
        place = crash.place if crash is not None else ""
        last = quoted(logs.reason(live.log, live.log_start, live.code)) if crash is None else ""
        text = f"a worker {exited} before it was ready{f', at {place}' if place else ''}{last}"
    else:
        text = logs.reason(live.log, live.log_start, live.code) or f"{program.name} {live.end}"
    text += _port_advice(program, text)
    helps = "" if program.sight is None else remedy(text, listed=program.sight.isolation.connects == "listed")
    return f"{text}; {helps and f'{helps}; '}more in {_command(program)}"


def why_late(program: Program, live: LiveInstance) -> str:
    """Return what kept an instance from being ready within its start timeout, in one line."""
    live.update_from_workers()
    frames = _frames(live.readiness)
    places = _own(frames, live.code)
    late = f"it was not ready within {program.start_timeout_s:g} s"
    advice = f"if it needs longer, raise health.start_timeout; more in {_command(program)}"
    if live.waits is not None:
        if _ANSWERED.match(live.waits):  # it is there, and says no: more time seldom changes that
            choose = "" if "set health." in live.waits else "; set health.path to one that answers 2xx"
            advice = f"more in {_command(program)}"
            return f"{late}: {live.waits}{choose}; {advice}"
        return f"{late}: {live.waits}; {advice}"
    if any(file.endswith(_SERVERS) for file, _ in frames):
        at = f", at {places[0]}" if places else ""
        return (
            f"{late}: it starts a server of its own while it is imported{at}: do that only below "
            f"if __name__ == '__main__'; more in {_command(program)}"
        )
    if frames:
        at = f", at {places[0]}" if places else ""
        return f"{late}: it is still being imported{at}; {advice}"
    return f"{late}{quoted(logs.reason(live.log, live.log_start, live.code))}; {advice}"


def importing(program: Program, live: LiveInstance) -> str | None:
    """Return where a worker is that has been imported for long, and for how long; None where none has."""
    if live.record.ready_at is not None or not live.imports:
        return None
    places = _own(_frames(live.readiness), live.code)
    if not places:
        return None
    seconds = int(time.monotonic() - live.record.started_at) // _SHOWN_EVERY_S * _SHOWN_EVERY_S
    return f"still importing at {places[0]}, {seconds} s of {program.start_timeout_s:g} s"


def _port_advice(program: Program, text: str) -> str:
    """Return where a program is to listen that found its address in use, as the end of a sentence; "" for any other."""
    if not _IN_USE.search(text):
        return ""
    if program.name == "gunicorn":
        return "; the app is not to listen itself, gunicorn does so for it"
    return "; it is to listen where $PORT or $SOCKET says, or at descriptor 3 with `listen: descriptor`"


def _command(program: Program) -> str:
    return f"'reconciler logs {program.app}'"


def _frames(readiness: Path) -> list[tuple[str, str]]:
    """Return file and line of each frame of a worker that is being imported, innermost first."""
    for path in _importing(readiness):
        text = logs.text_from(path, _TAIL_BYTES, within=readiness)
        _, _, newest = text.rpartition("most recent call first")
        return [(frame["file"], frame["line"]) for frame in _FRAME.finditer(newest)]
    return []


def _importing(readiness: Path) -> Iterator[Path]:
    with suppress(OSError):
        names = sorted(names_in(readiness, _MOST_FILES))
        yield from (readiness / name for name in names if name.startswith("importing-"))


def _own(frames: list[tuple[str, str]], code: str) -> list[str]:
    """Return the frames of the app's own code as file:line, relative to it."""
    root = f"{code}/"
    return [
        f"{file.removeprefix(root)}:{line}"
        for file, line in frames
        if file.startswith(root) and "/site-packages/" not in file
    ]
