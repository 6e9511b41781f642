"""What the benchmarks share: a daemon of their own, gunicorn by hand, waiting for a 200, and a verdict."""

import contextlib
import http.client
import json
import os
import platform
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parent.parent
_APP = """def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "3")])
    return [b"hi\\n"]
"""


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on now, all different."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]


def seconds_to_200(port: int, since: float, path: str = "/", within_s: float = 30.0) -> float:
    """Seconds from `since` until the port first answers 200, looked at every half millisecond."""
    while time.perf_counter() - since < within_s:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", path)
            if connection.getresponse().status == 200:
                return time.perf_counter() - since
        except OSError:
            time.sleep(0.0005)
        finally:
            connection.close()
    raise TimeoutError(f"port {port} did not answer within {within_s} s")


@dataclass
class Bench:
    """A directory of its own with a trivial app, a daemon on it, and that daemon's state."""

    directory: Path
    manifests: Path = field(init=False)
    app: Path = field(init=False)
    state: Path = field(init=False)
    daemon: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.manifests = self.directory / "manifests"
        self.app = self.directory / "app"
        self.state = self.directory / "state"
        self.manifests.mkdir()
        self.app.mkdir()
        (self.app / "wsgi.py").write_text(_APP)

    def start(self, *options: str) -> subprocess.Popen[bytes]:
        log = (self.directory / "daemon.log").open("ab")
        self.daemon = subprocess.Popen(
            [
                *(sys.executable, "-m", "reconciler", "run", *options),
                *("--manifests", str(self.manifests), "--state", str(self.state)),
            ],
            cwd=ROOT,
            stdout=log,
            stderr=log,
        )
        return self.daemon

    def drop(self, name: str, text: str) -> None:
        """Put a manifest there as a deploy tool does: written elsewhere, renamed into place."""
        draft = self.manifests / f".{name}.draft"
        draft.write_text(text)
        draft.rename(self.manifests / f"{name}.yaml")

    def status(self) -> dict[str, dict[str, object]]:
        """`status --json`, by app."""
        command = [sys.executable, "-m", "reconciler", "status", "--json", "--state", str(self.state)]
        told = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
        return {app["name"]: app for app in json.loads(told)["apps"]}

    def until(self, state: str, names: Sequence[str], within_s: float = 300.0) -> None:
        """Wait until these apps are all in a state."""
        deadline = time.perf_counter() + within_s
        while time.perf_counter() < deadline:
            with contextlib.suppress(subprocess.CalledProcessError):
                apps = self.status()
                if all(apps.get(name, {}).get("state") == state for name in names):
                    return
            time.sleep(0.2)
        raise TimeoutError(f"not all are {state}: {self.status()}")

    def environment_python(self) -> str:
        """The interpreter of the one environment in the store."""
        found = sorted((self.state / "environments").glob("*/bin/python"))
        return str(found[0])

    def end(self) -> None:
        command = [sys.executable, "-m", "reconciler.cli.halt", "--state", str(self.state)]
        subprocess.run(command, cwd=ROOT, check=False, capture_output=True)
        if self.daemon is not None:
            self.daemon.wait(30)


@contextlib.contextmanager
def bench() -> Iterator[Bench]:
    """A bench that is taken down again, with every process it started."""
    with tempfile.TemporaryDirectory(prefix="reconciler-bench-", ignore_cleanup_errors=True) as directory:
        made = Bench(Path(directory))
        try:
            yield made
        finally:
            made.end()


@contextlib.contextmanager
def gunicorn_by_hand(python: str, app: Path, port: int, *options: str) -> Iterator[float]:
    """gunicorn with its defaults on the same app; yields the moment it was spawned."""
    env = {"PATH": os.environ["PATH"], "HOME": str(app.parent)}
    began = time.perf_counter()
    process = subprocess.Popen(
        [python, "-m", "gunicorn", "-b", f"127.0.0.1:{port}", *options, "wsgi:application"],
        cwd=app,
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield began
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def summary(seconds: Sequence[float]) -> str:
    """Median, least and most, in milliseconds."""
    return (
        f"median {statistics.median(seconds) * 1000:6.1f} ms   "
        f"min {min(seconds) * 1000:6.1f}   max {max(seconds) * 1000:6.1f}   ({len(seconds)} runs)"
    )


def verdict(what: str, ratio: float, at_most: float) -> bool:
    """Print a ratio beside its bound; True when it holds."""
    holds = ratio <= at_most
    print(f"{what}: ratio {ratio:.2f}, at most {at_most:.2f}: {'holds' if holds else 'DOES NOT HOLD'}")
    return holds


def machine() -> str:
    """One line about where this ran."""
    return f"{os.cpu_count()} cores, {platform.system()} {platform.release()}, Python {platform.python_version()}"
