"""How soon a push is served, with apps that serve meanwhile: by a webhook, by looking, and by git pull in a loop.

Each push touches one of the apps that run; the others of the repository sleep. `pull` is what cron would run each
period, `git pull` and `supervisorctl restart` of what changed, beside which `poll` looks as often. Counted are the
requests that fail, 50 a second to the apps that run. comin (NixOS) and doco-cd (Docker) cannot run here: by their
documentation, comin looks each 60 s, and doco-cd each 10 s at the soonest.
"""

import argparse
import contextlib
import http.client
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks.bench import Bench, bench
from benchmarks.clients import ask, free_ports
from benchmarks.machine import described
from benchmarks.printed import verdict
from benchmarks.studies.one_of_many import Repository
from benchmarks.tools import neighbour, tool

_SECRET = "the-secret-of-the-webhook"
_WSGI = (
    "def application(environ, start_response):\n"
    '    start_response("200 OK", [("Content-Length", "{size}")])\n    return [b"{text}"]\n'
)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks pushes", description=__doc__)
    parser.add_argument("--apps", type=int, default=50)
    parser.add_argument("--running", type=int, default=5)
    parser.add_argument("--pushes", type=int, default=100)
    parser.add_argument("--every", type=float, default=5.0, help="the period of looks, in seconds")
    parser.add_argument("--way", choices=("webhook", "poll", "pull"), nargs="*", default=("webhook", "poll", "pull"))
    asked = parser.parse_args(arguments)
    print(described())
    held = [
        _measured(way, asked.apps, asked.running, asked.pushes, 3600.0 if way == "webhook" else asked.every)
        for way in asked.way
    ]
    return 0 if all(held) else 1


def _measured(way: str, apps: int, running: int, pushes: int, every_s: float) -> bool:
    with bench() as here:
        ports = free_ports(running)
        names = [f"app-{number:02}" for number in range(apps)]
        repository = Repository(here.directory)
        with _served(way, here, repository, names, ports, every_s) as pushed, _asked(ports) as failures:
            took = []
            for number in range(1, pushes + 1):
                index = number % running
                repository.push({f"{names[index]}/wsgi.py": _code(f"push {number}")})
                began = time.perf_counter()
                pushed()
                _until(ports[index], f"push {number}", began)
                took.append(time.perf_counter() - began)
            time.sleep(1)
        took.sort()
        told = (f"median {statistics.median(took):.2f} s", f"95 of 100 {took[len(took) * 95 // 100]:.2f} s")
        lost = f"{len(failures)} failed requests"
        print(f"{way}: {pushes} pushes to one of {apps} apps: {', '.join(told)}, most {took[-1]:.2f} s; {lost}")
        if way == "pull":
            return True  # what it is beside
        most_s = 1.0 if way == "webhook" else 1.1 * every_s + 1.0  # looks deviate by up to a tenth
        held = verdict(f"{way}: median, beside {most_s:g} s", statistics.median(took) / most_s, 1.0)
        return verdict(f"{way}: failed requests", float(len(failures)), 0.0) and held


def _code(text: str) -> str:
    return _WSGI.format(size=len(text), text=text)


@contextlib.contextmanager
def _served(  # noqa: PLR0913, PLR0917  what is measured
    way: str, here: Bench, repository: Repository, names: Sequence[str], ports: Sequence[int], every_s: float
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
