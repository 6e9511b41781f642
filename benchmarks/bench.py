"""A daemon of ours with manifests, state and an app of its own, in a directory that is taken down again."""

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.gunicorn import write_app

ROOT = Path(__file__).parent.parent


@dataclass
class Bench:
    """A directory of its own with a trivial app, a daemon on it, and that daemon's state."""

    directory: Path
    manifests: Path = field(init=False)
    app: Path = field(init=False)
    state: Path = field(init=False)
    checkout: Path = ROOT
    daemon: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.manifests = self.directory / "manifests"
        self.app = self.directory / "app"
        self.state = self.directory / "state"
        self.manifests.mkdir()
        write_app(self.app)

    def command(self, *words: str) -> list[str]:
        """A command line of the checkout's reconciler."""
        python = sys.executable if self.checkout == ROOT else str(self.checkout / ".venv/bin/python")
        return [python, "-m", "reconciler", *words]

    def start(self, *options: str) -> subprocess.Popen[bytes]:
        with (self.directory / "daemon.log").open("ab") as log:
            self.daemon = subprocess.Popen(
                self.command("run", *options, "--manifests", str(self.manifests), "--state", str(self.state)),
                cwd=self.checkout,
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
        command = self.command("status", "--json", "--state", str(self.state))
        told = subprocess.run(command, cwd=self.checkout, capture_output=True, check=True).stdout
        return {app["name"]: app for app in json.loads(told)["apps"]}

    def until(self, state: str, names: Sequence[str], within_s: float = 300.0) -> None:
        """Wait until these apps are all in a state."""
        deadline = time.perf_counter() + within_s
        while (began := time.perf_counter()) < deadline:
            with contextlib.suppress(subprocess.CalledProcessError):
                apps = self.status()
                if all(apps.get(name, {}).get("state") == state for name in names):
                    return
            time.sleep(max(0.2, 2 * (time.perf_counter() - began)))  # the status of ten thousand apps is work, too
        told = {name: (app["state"], app["message"]) for name, app in self.status().items() if app["state"] != state}
        raise TimeoutError(f"not all are {state}: {told}")

    def environment_python(self) -> str:
        """The interpreter of the one environment in the store."""
        found = sorted((self.state / "environments").glob("*/bin/python"))
        return str(found[0])

    def end(self) -> None:
        """End the daemon and its apps; it may be started again."""
        command = self.command("down", "--state", str(self.state))
        if (self.checkout / "reconciler/cli/halt.py").exists():  # before there was `down`
            command = [command[0], "-m", "reconciler.cli.halt", "--state", str(self.state)]
        subprocess.run(command, cwd=self.checkout, check=False, capture_output=True)
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
