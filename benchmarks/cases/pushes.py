"""A push to a git repository, until it is served: by a webhook, by looking, and by git pull in a loop."""

import contextlib
import http.client
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from benchmarks.bench import Bench, bench
from benchmarks.case import OURS, Bound, Case, Figures, at_most, told
from benchmarks.clients import ask, free_ports
from benchmarks.repository import Repository
from benchmarks.setting import Setting
from benchmarks.tools import neighbour, tool

_APPS, _RUNNING, _EVERY_S = 50, 5, 5.0
_SECRET = "the-secret-of-the-webhook"
_WSGI = (
    "def application(environ, start_response):\n"
    '    start_response("200 OK", [("Content-Length", "{size}")])\n    return [b"{text}"]\n'
)
_WHAT = "push → first answer of it"
_FAILED = "requests that failed"
_LOOKING = f"{OURS}, looking each {_EVERY_S:g} s"

_Way: TypeAlias = Literal["webhook", "poll", "pull"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Contender:
    """Something that serves what is pushed: by which way, and how often it is pushed to."""

    who: str
    way: _Way
    how: str
    pushes: int
    every_s: float = _EVERY_S


_PULL = f"`git pull` and `supervisorctl restart` of what changed, each {_EVERY_S:g} s"
_CONTENDERS = (
    _Contender(who=OURS, way="webhook", how="the webhook is called", pushes=100, every_s=3600.0),
    _Contender(who=_LOOKING, way="poll", how="nothing", pushes=20),
    _Contender(who="git pull and supervisord", way="pull", how=_PULL, pushes=20),
)


def run(setting: Setting) -> Figures:
    figures = Figures()
    figures.cannot("comin", "it configures NixOS; by its documentation, it looks each 60 s")
    figures.cannot("doco-cd", "it needs Docker; by its documentation, it looks each 10 s at the soonest")
    for each in _CONTENDERS:
        if setting.wanted and each.who not in setting.wanted:
            continue
        if each.way == "pull" and (why := tool("supervisord").missing):
            figures.cannot(each.who, why)
            continue
        _measure(each, 5 if setting.quick else each.pushes, figures)
    return figures


def _measure(contender: _Contender, pushes: int, figures: Figures) -> None:
    with bench() as here:
        ports = free_ports(_RUNNING)
        names = [f"app-{number:02}" for number in range(_APPS)]
        repository = Repository(here.directory)
        serving = _served(contender.way, here, repository, names, ports, contender.every_s)
        with serving as pushed, _asked(ports) as failures:
            for number in range(1, pushes + 1):
                index = number % _RUNNING
                repository.push({f"{names[index]}/wsgi.py": _code(f"push {number}")})
                began = time.perf_counter()
                pushed()
                _until(ports[index], f"push {number}", began)
                figures.add(_WHAT, contender.who, "s", time.perf_counter() - began, how=contender.how)
            time.sleep(1)
        figures.add(_FAILED, contender.who, "in all", float(len(failures)))


def _none_failed(figures: Figures) -> tuple[str, bool]:
    found = figures.of(_FAILED)
    failed = sum(found[who].samples[0] for who in (OURS, _LOOKING))
    return f"{failed:.0f} in all pushes", failed == 0


def _within_a_look(figures: Figures) -> tuple[str, bool]:
    found = figures.of(_WHAT)[_LOOKING]
    return told(found), max(found.samples) <= 1.1 * _EVERY_S + 1  # looks deviate by up to a tenth


def _code(text: str) -> str:
    return _WSGI.format(size=len(text), text=text)


@contextlib.contextmanager
def _served(  # noqa: PLR0913, PLR0917  what is measured
    way: _Way, here: Bench, repository: Repository, names: Sequence[str], ports: Sequence[int], every_s: float
) -> Iterator[Callable[[], None]]:
    """Serve the apps in one of the ways; yields what is done after a push."""
    files = {f"{name}/wsgi.py": _code("before") for name in names}
    if way == "pull":
        repository.push(files)
        with _pulling(here.directory, repository, names, ports, every_s):
            _all(ports)
            yield lambda: None
        return
    (api,) = free_ports(1)
    for index, name in enumerate(names):
        runs = f"port: {ports[index]}\nprobation: 0s\n" if index < len(ports) else "start: lazy\n"
        files[f"manifests/{name}.yaml"] = f"path: ../{name}\n{runs}"
    repository.push(files)
    for file in ("hook", "token"):
        (here.directory / file).write_text(f"{_SECRET}\n")
    settings = here.directory / "host.yaml"
    first = max(1024, min(ports) - 1)
    settings.write_text(
        f"ports: {{first: {first}, last: 65535}}\n"
        f"api: {{address: 127.0.0.1:{api}, token: {{file: token}}}}\n"
        f"git: {{repositories: {{code: {{url: {repository.bare}, signed: no, every: {every_s:g}s,"
        " webhook: {secret: {file: hook}}}}}\n"
        "origins: {code: {repository: code, branch: main, path: manifests}}\n"
    )
    here.start("--settings", str(settings))
    here.until("sleeping", names[len(ports) :], within_s=1800)
    _all(ports)
    yield (lambda: _call(api)) if way == "webhook" else lambda: None


def _call(api: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", api, timeout=20)
    with contextlib.closing(connection):
        connection.request("POST", "/hooks/code", "", {"Authorization": f"Bearer {_SECRET}"})
        assert connection.getresponse().status == 202


@contextlib.contextmanager
def _pulling(
    directory: Path, repository: Repository, names: Sequence[str], ports: Sequence[int], every_s: float
) -> Iterator[None]:
    """Pull in a loop, and have supervisord restart what has changed."""
    work, main = directory / "pulled", directory / "supervisord.conf"
    subprocess.run(["git", "clone", "-q", str(repository.bare), str(work)], check=True)
    programs = "".join(
        f"[program:{name}]\ncommand = {sys.executable} -m gunicorn -b 127.0.0.1:{port} wsgi:application\n"
        f"directory = {work / name}\nstopasgroup = true\nstdout_logfile = NONE\nstderr_logfile = NONE\n"
        for name, port in zip(names, ports, strict=False)
    )
    main.write_text(
        "[unix_http_server]\nfile = %(here)s/socket\n[supervisord]\nlogfile = %(here)s/log\npidfile = %(here)s/pid\n"
        "[rpcinterface:supervisor]\n"
        "supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface\n"
        f"[supervisorctl]\nserverurl = unix://%(here)s/socket\n{programs}"
    )
    running = subprocess.Popen([tool("supervisord").path, "--nodaemon", "--configuration", str(main)],
                               stdout=subprocess.DEVNULL)  # fmt: skip
    over = threading.Event()

    def loop() -> None:
        while not over.wait(every_s):
            before = _git(work, "rev-parse", "HEAD")
            _git(work, "pull", "-q", "--ff-only")
            changed = {name.partition("/")[0] for name in _git(work, "diff", "--name-only", before, "HEAD").split()}
            if changed:
                control = neighbour("supervisord", "supervisorctl")
                words = [control, "--configuration", str(main), "restart", *sorted(changed)]
                subprocess.run(words, check=True, stdout=subprocess.DEVNULL)

    puller = threading.Thread(target=loop)
    puller.start()
    try:
        yield
    finally:
        over.set()
        puller.join()
        running.terminate()
        running.wait(60)


def _git(work: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=work, check=True, capture_output=True, text=True).stdout.strip()


@contextlib.contextmanager
def _asked(ports: Sequence[int]) -> Iterator[list[str]]:
    """Ask the apps in turn, 50 times a second; yields what has failed."""
    over, failures = threading.Event(), []

    def loop() -> None:
        number = 0
        while not over.wait(0.02):
            number += 1
            try:
                ask(ports[number % len(ports)])
            except (OSError, http.client.HTTPException) as error:
                failures.append(repr(error))

    asking = threading.Thread(target=loop)
    asking.start()
    try:
        yield failures
    finally:
        over.set()
        asking.join()


def _until(port: int, text: str, since: float) -> None:
    while time.perf_counter() - since < 300:
        with contextlib.suppress(OSError, http.client.HTTPException):
            if ask(port) == text:
                return
        time.sleep(0.005)
    raise TimeoutError(f"'{text}' was never served")


def _all(ports: Sequence[int]) -> None:
    began = time.perf_counter()
    for port in ports:
        _until(port, "before", began)


CASE = Case(
    name="pushes",
    title="A push to a git repository, to its first answer",
    measures=(
        f"One repository has {_APPS} apps, of which {_RUNNING} run and are asked 50 times a second in all. Each push "
        "changes the code of one of these. `git pull` in a loop is what cron would run, at most once a minute."
    ),
    bounds=(
        at_most(_WHAT, 1.0, "s"),
        Bound(says="looking: at most the period and 1 s", check=_within_a_look),
        Bound(says="no request of ours fails", check=_none_failed),
    ),
    plotted=(_WHAT,),
    run=run,
)
