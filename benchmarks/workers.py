"""Who runs a celery worker while its code is deployed: ours, supervisord by two sample configurations, a shell loop.

Each runs the same site's worker with the same celery on the same Redis, and is told of new code as its users do it.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

from benchmarks import processes, tools
from benchmarks.bench import Bench
from benchmarks.clients import free_ports
from benchmarks.peers.peer import wait_for_file

CONCURRENCY = 6
COMMAND = f"celery -A tasks worker --concurrency {CONCURRENCY} --loglevel warning"
_TASKS = """import os, time
from celery import Celery

app = Celery("tasks", broker=os.environ["BROKER"])
VERSION = open(os.path.join(os.path.dirname(__file__), "version")).read().strip()


def say(what, name):
    with open(os.environ["RESULTS"], "ab", buffering=0) as results:
        results.write(f"{what} {name} {VERSION} {time.clock_gettime(time.CLOCK_MONOTONIC)}\\n".encode())


@app.task
def job(name, seconds):
    say("began", name)
    time.sleep(seconds)
    say("finished", name)
"""
_WSGI = """def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"shop"]
"""
# One line each on its input: the name of a job, and how long it takes.
_ENQUEUE = """import sys, tasks
for line in sys.stdin:
    name, seconds = line.split()
    tasks.job.delay(name, float(seconds))
"""


class Contender(ABC):
    """One manager of a worker, in a directory of its own."""

    name: ClassVar[str]
    how: ClassVar[str]
    can_trigger: ClassVar[bool] = True

    def __init__(self, directory: Path, broker: str) -> None:
        directory.mkdir()
        self.directory = directory
        self.code = directory / "code"
        self.code.mkdir()
        self.results = directory / "results"
        self.environment = {"BROKER": broker, "RESULTS": str(self.results), "C_FORCE_ROOT": "1"}
        (self.code / "tasks.py").write_text(_TASKS)
        (self.code / "wsgi.py").write_text(_WSGI)
        (self.code / "requirements.txt").write_text(f"{tools.requirement('celery')}\n")
        self.save_version("1")

    @abstractmethod
    def start(self) -> None:
        """Start the manager and its worker; waits for nothing."""

    @abstractmethod
    def deploy(self, version: str) -> None:
        """Have the worker run new code."""

    @abstractmethod
    def stop(self) -> None:
        """End the manager and the worker."""

    @abstractmethod
    def trigger(self) -> None:
        """Have the manager run once what writes the time into `marker`."""

    @property
    def marker(self) -> Path:
        return self.directory / "marker"

    def worker_pids(self) -> list[int]:
        """The processes of the worker, by what only they and the site's other processes have in their environment."""
        pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]
        site = [pid for pid in pids if processes.environment(pid).get("RESULTS") == str(self.results)]
        lines = {pid: processes.command_line(pid) for pid in site}
        return [pid for pid, line in lines.items() if "celery -A tasks worker" in line and not line.startswith("sh ")]

    def save_version(self, version: str) -> None:
        draft = self.directory / "version.draft"
        draft.write_text(version)
        draft.rename(self.code / "version")

    def enqueuer(self) -> "subprocess.Popen[str]":
        """A program that takes names of jobs and their seconds by lines, and enqueues them."""
        python = tools.neighbour("celery", "python")
        return subprocess.Popen(
            [python, "-c", _ENQUEUE], cwd=self.code, env=self.environment, stdin=subprocess.PIPE, text=True, bufsize=1
        )


def marking(python: str, marker: Path) -> list[str]:
    """A command that writes the clock of this machine into a file."""
    return [python, "-S", "-c", f"import time; open('{marker}', 'w').write(str(time.clock_gettime(1)))"]


class Ours(Contender):
    name = "reconciler"
    how = "the code is renamed into place: it is watched"

    def __init__(self, directory: Path, broker: str) -> None:
        super().__init__(directory, broker)
        self.bench = Bench(directory)
        (self.port,) = free_ports(1)

    def start(self) -> None:
        env = "".join(f"  {name}: {value!r}\n" for name, value in self.environment.items())
        marker = marking("python", self.marker)
        self.bench.drop(
            "shop",
            f"path: {self.code}\nport: {self.port}\nruntime: {sys.executable}\nenv:\n{env}processes:\n"
            f"  worker: {{command: {COMMAND}, stop_timeout: 10m, ready: {{after: 1s}}}}\n"
            f"schedules:\n  mark: {{command: {marker!r}, every: 24h}}\n",
        )
        self.bench.start()
        self.bench.until("running", ["shop"])

    def deploy(self, version: str) -> None:
        self.save_version(version)

    def trigger(self) -> None:
        subprocess.run(
            self.bench.command("trigger", "shop", "mark", "--state", str(self.bench.state)),
            cwd=self.bench.checkout, check=True, capture_output=True,
        )  # fmt: skip

    def stop(self) -> None:
        self.bench.end()


class Supervisord(Contender):
    """With what its own sample says, which is nothing: TERM to the first process, KILL ten seconds later."""

    name = "supervisord"
    how = "`supervisorctl restart`"
    program = "autorestart = true"

    def start(self) -> None:
        env = ",".join(f'{name}="{value}"' for name, value in self.environment.items())
        celery = tools.tool("celery").path
        python, option, _, text = marking(tools.neighbour("celery", "python"), self.marker)
        script = self.directory / "mark.py"
        script.write_text(text)
        (self.directory / "supervisord.conf").write_text(
            "[unix_http_server]\nfile = %(here)s/socket\n"
            "[supervisord]\nlogfile = %(here)s/supervisord.log\npidfile = %(here)s/pid\n"
            "[rpcinterface:supervisor]\n"
            "supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface\n"
            "[supervisorctl]\nserverurl = unix://%(here)s/socket\n"
            f"[program:worker]\ncommand = {celery} {COMMAND.removeprefix('celery ')}\ndirectory = {self.code}\n"
            f"environment = {env}\nstdout_logfile = NONE\nstderr_logfile = NONE\n{self.program}\n"
            f"[program:mark]\ncommand = {python} {option} {script}\nautostart = false\n"
            "autorestart = false\nstartsecs = 0\nstdout_logfile = NONE\nstderr_logfile = NONE\n"
        )
        with (self.directory / "output.log").open("ab") as log:
            self.process = subprocess.Popen(
                [tools.tool("supervisord").path, "--nodaemon", "--configuration", "supervisord.conf"],
                cwd=self.directory, env={"PATH": os.environ["PATH"], processes.MARK: str(self.directory)},
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        wait_for_file(self.directory / "socket")

    def deploy(self, version: str) -> None:
        self.save_version(version)
        self._control("restart", "worker")

    def trigger(self) -> None:
        self._control("start", "mark")

    def _control(self, *words: str) -> None:
        control = tools.neighbour("supervisord", "supervisorctl")
        subprocess.run(
            [control, "--configuration", "supervisord.conf", *words], cwd=self.directory, check=False,
            capture_output=True,
        )  # fmt: skip

    def stop(self) -> None:
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(30)
        processes.end_marked(str(self.directory), within_s=5.0)
        self.process.wait()


class CelerysSample(Supervisord):
    """With what celery ships for supervisord: TERM to the process group, and ten minutes to finish."""

    name = "supervisord by celery's sample"
    program = "autorestart = true\nstartsecs = 10\nstopwaitsecs = 600\nstopasgroup = true"


class ShellLoop(Contender):
    """A loop that starts the worker again; a deploy is `systemctl restart` of a plain unit: TERM to all, KILL later."""

    name = "shell loop, stopped as systemd does"
    how = "TERM to all processes of the worker, KILL 90 s later"
    can_trigger = False

    def start(self) -> None:
        environment = {**self.environment, "PATH": os.environ["PATH"], processes.MARK: str(self.directory)}
        command = f"{tools.tool('celery').path} {COMMAND.removeprefix('celery ')}"
        with (self.directory / "output.log").open("ab") as log:
            self.process = subprocess.Popen(
                ["sh", "-c", f"while :; do {command}; sleep 0.1; done"],
                cwd=self.code, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip

    def deploy(self, version: str) -> None:
        self.save_version(version)
        told = set(self.worker_pids())
        for number, within_s in ((signal.SIGTERM, 90.0), (signal.SIGKILL, 10.0)):
            for pid in told:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            deadline = time.monotonic() + within_s
            while any(map(processes.is_alive, told)) and time.monotonic() < deadline:
                time.sleep(0.05)

    def trigger(self) -> None: ...

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        for pid in self.worker_pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        processes.end_marked(str(self.directory), within_s=5.0)


class ByHand(Contender):
    """Nothing but the program, for the time it takes to start one."""

    name = "by hand"
    how = "a program is started"

    def start(self) -> None: ...

    def deploy(self, version: str) -> None: ...

    def stop(self) -> None: ...

    def trigger(self) -> None:
        subprocess.run(marking(tools.neighbour("celery", "python"), self.marker), check=True)


CONTENDERS: tuple[type[Contender], ...] = (Ours, Supervisord, CelerysSample, ShellLoop)


def memory(contender: Contender) -> float:
    """Megabytes of a worker that waits for work, all its processes together (PSS).

    It is deployed once before, as the first worker in an environment may have compiled what it imports.
    """
    deadline = time.monotonic() + 60
    while len(first := contender.worker_pids()) <= CONCURRENCY and time.monotonic() < deadline:
        time.sleep(0.1)
    contender.deploy("compiled")
    while len(found := contender.worker_pids()) <= CONCURRENCY or {*first} & {*found}:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{contender.name} has no worker of {CONCURRENCY} processes within 60 s")
        time.sleep(0.1)
    time.sleep(5.0)
    return sum(processes.memory_mb(pid) for pid in contender.worker_pids())


def first_line(contender: Contender) -> float:
    """Seconds from asking for a command to be run until it wrote its first line."""
    marker = contender.marker
    marker.unlink(missing_ok=True)
    began = time.clock_gettime(time.CLOCK_MONOTONIC)
    contender.trigger()
    while not (marker.exists() and marker.read_text()):
        if time.clock_gettime(time.CLOCK_MONOTONIC) > began + 30:
            raise TimeoutError(f"{contender.name} ran nothing within 30 s")
        time.sleep(0.002)
    return float(marker.read_text()) - began
