"""docs/tutorial.md and docs/gitops.md as their reader does them, with the real daemon.

Files are saved and commands run in order, in one shell.

A second reader has nothing but the repository, and begins with a clone of it and `make run`, as README.md has it.

A block of commands that is followed by what it prints is run again until it prints that, as by a reader who was too
quick; any other block is run once and must succeed. What no two runs have in common is told by its shape.
"""

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from reconciler.serving.keeper import dismiss
from reconciler.serving.marks import marked
from tests.support.documents import DOCS, Block, blocks
from tests.support.eventually import eventually
from tests.support.hosts import explained
from tests.support.ports import a_port
from tests.support.site import REPOSITORY, Site
from tests.support.web import fetch, logged_in

pytestmark = [
    pytest.mark.network,
    pytest.mark.skipif(shutil.which("curl") is None, reason="its reader has curl"),
    pytest.mark.skipif(find_spec("ensurepip") is None, reason="its reader has a Python that makes environments"),
]

_PORT, _HOME = "8000", "/home/you"
_LONGEST_S = 600.0
_DONE = "-- done:"
# What no two runs have in common: how the page writes it, and how it may look.
_SHAPES = {
    r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d": r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d",  # a moment
    r"\b[0-9a-f]{12}\b": r"[0-9a-f]{12}",  # a revision or a build
    r"\b[0-9a-f]{7}\b": r"[0-9a-f]{7}",  # a commit
    r"(?<=SHA256:)[\w+/]{43}": r"[\w+/]{43}",  # a key
    r"(?<=in )\d\.\d(?= s)": r"\d+\.\d",  # how long a fetch took
    r"\bpython\d+\.\d+\.\d+\b": r"python\d+\.\d+\.\d+",  # the newest Python of the host
    r"(?<= \d )\d(?= \d+s\b)": r"\d+",  # restarts: a slow machine may need another
    r"\b\d+s\b": r"[\dhms]+",  # how long ago, how soon
    r"\b\d{5,}\b": r"\d+",  # a process
    r"(?<=visit )\d+": r"\d+",  # one more with every time of asking
    r"(?<!-)\b\d\d-\d\d \d\d:\d\d:\d\d\b": r"~?\d\d-\d\d \d\d:\d\d:\d\d",  # a moment in a log
    r"(?<=/login/)[\w-]{32}": r"[\w-]{32}",  # the secret of a link
    r"\bfailed \d+ times\b": r"failed(?: \d+ times)?",  # how often before it was mended
    r"\b\d+(?= lines folded)": r"\d+",  # a traceback, by the version of Python
    r"(?<=ended by )SIGKILL\b": r"SIGKILL(?:, most likely by the kernel, which was out of memory)?",  # by another test
    r"\b\d+\.\d+M\b": r"\d+\.\d+M",  # memory
    r"(?<=M )\d+(?= (?:idle|busy))": r"\d+",  # requests
}


class Shell:
    """One bash, which keeps variables, directory and jobs from block to block; `close` ends it and its jobs."""

    def __init__(self, cwd: Path, env: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            ["bash", "--norc", "--noprofile"], cwd=cwd, env=env, text=True, start_new_session=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def run(self, commands: str) -> tuple[str, int]:
        """What the commands print, and the exit code of the last."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        told = []
        limit = threading.Timer(_LONGEST_S, self._kill)
        limit.start()
        try:
            self.process.stdin.write(f"{commands}\nprintf '%s%s\\n' '{_DONE}' $?\n")
            self.process.stdin.flush()
            for line in self.process.stdout:
                before, done, code = line.partition(_DONE)
                told.append(before)
                if done:
                    return "".join(told), int(code)
        finally:
            limit.cancel()
        raise AssertionError(f"the shell ended, or took longer than {_LONGEST_S:g} s, in:\n{commands}{''.join(told)}")

    def close(self) -> None:
        self._kill()
        self.process.wait(20)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)


@dataclass(slots=True)
class Checkout(Site):
    """A checkout in which `make run` keeps the daemon's state."""

    @property
    def state(self) -> Path:
        return self.root / ".state"


@pytest.fixture
def tutorial(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Site]:
    """The tutorial of a reader whose home has a checkout; of what is left running in it nothing stays."""
    (tmp_path / "reconciler").symlink_to(REPOSITORY)
    yield from explained(Site(root=tmp_path / "tutorial"), request)


@pytest.fixture
def checkout(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Site]:
    """Where a reader is about to clone the repository; of what is left running in it nothing stays."""
    yield from explained(Checkout(root=tmp_path / "reconciler"), request)


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    home = tmp_path
    programs = home / "bin"
    programs.mkdir()
    (programs / "python3").symlink_to(Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}")
    env = {name: value for name, value in os.environ.items() if not name.startswith("RECONCILER_")}
    path = f"{programs}:{os.environ['PATH']}"
    shell = Shell(
        home,
        {**env, "HOME": str(home), "PATH": path, "PIP_NO_COMPILE": "1", "PIP_NO_CACHE_DIR": "1", "SSH_CONNECTION": ""},
    )
    try:
        yield shell
    finally:
        shell.close()


def shape(documented: str) -> "re.Pattern[str]":
    """What output must look like to be the documented one; columns may be of another width."""
    pattern, end = [], 0
    for found in re.finditer("|".join(f"({each})" for each in _SHAPES), documented):
        pattern += [re.escape(documented[end : found.start()]), [*_SHAPES.values()][(found.lastindex or 1) - 1]]
        end = found.end()
    return re.compile("".join([*pattern, re.escape(documented[end:])]))


def narrow(text: str) -> str:
    return "\n".join(" ".join(line.split()) for line in text.splitlines())


class Reader:
    """Does what blocks say about a site in its home, with a port of its own."""

    def __init__(self, site: Site, shell: Shell) -> None:
        self._site = site
        self._shell = shell
        self._port = str(a_port())
        self.state: str | None = None

    def follow(self, steps: Sequence[Block]) -> None:
        """Do one step after another; `state` is then the id of the state directory that there was."""
        for step, following in zip(steps, [*steps[1:], None], strict=True):
            if step.file is not None:
                self.save(step)
            elif step.language == "sh" and following is not None and following.language == "text":
                self.see(step, following)
            elif step.language == "sh":
                if "rm -r" in step.text:
                    dismiss(self._site.paths.keeper)  # it would wait another minute for a daemon
                self.do(step)
            self.state = self._site.state_id() or self.state

    def save(self, block: Block) -> None:
        (self._site.root / str(block.file)).write_text(self._own(block.text))

    def do(self, block: Block) -> None:
        told, code = self._shell.run(self._own(block.text))
        assert code == 0, f"line {block.line} ends with {code} and printed:\n{told}"

    def see(self, block: Block, documented: Block) -> None:
        expected = shape(narrow(documented.text))
        expected = re.compile(self._own(expected.pattern))

        def printed() -> bool:
            told, _ = self._shell.run(self._own(block.text))
            log = self._site.root / "daemon.log"
            said = log.read_text()[-2000:] if log.exists() else ""
            assert expected.fullmatch(narrow(told)), (
                f"line {block.line} printed:\n{told}instead of\n{documented.text}and the daemon:\n{said}"
            )
            return True

        eventually(printed, 120)

    def _own(self, text: str) -> str:
        return text.replace(_PORT, self._port).replace(_HOME, str(self._site.root.parent))


def nothing_runs(state: str | None) -> bool:
    assert state is not None
    eventually(lambda: not [*marked(state)])
    return True


def test_every_step_of_the_tutorial_does_what_it_says(tutorial: Site, shell: Shell) -> None:
    reader = Reader(tutorial, shell)
    steps = [*blocks(DOCS / "tutorial.md")]
    assert {step.language for step in steps} == {"sh", "text", "python", "yaml"}
    reader.follow(steps)
    assert not tutorial.root.exists()
    assert nothing_runs(reader.state)


@pytest.fixture
def gitops(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Site]:
    """The same for docs/gitops.md."""
    (tmp_path / "reconciler").symlink_to(REPOSITORY)
    yield from explained(Site(root=tmp_path / "gitops"), request)


@pytest.mark.nightly
@pytest.mark.skipif(not (shutil.which("git") and shutil.which("ssh-keygen")), reason="its reader has git and OpenSSH")
def test_every_step_of_the_tutorial_of_gitops_does_what_it_says(gitops: Site, shell: Shell) -> None:
    reader = Reader(gitops, shell)
    reader.follow([*blocks(DOCS / "gitops.md")])
    assert not gitops.root.exists()
    assert nothing_runs(reader.state)


def waited(shell: Shell) -> bool:
    """Whether all is up to date; an AssertionError says what is not, with the end of what the daemon has printed."""
    told, code = shell.run(".venv/bin/reconciler wait")
    assert code == 0, f"{told}{shell.run('tail -n 40 daemon.log')[0]}"
    return True


@pytest.mark.nightly
@pytest.mark.skipif(not (REPOSITORY / ".git").exists(), reason="there is nothing to clone")
@pytest.mark.skipif(not (shutil.which("git") and shutil.which("make")), reason="its reader has git and make")
def test_a_reader_clones_the_repository_makes_run_and_serves_an_app_of_their_own(checkout: Site, shell: Shell) -> None:
    reader = Reader(checkout, shell)
    readme = [block.text for block in blocks(REPOSITORY / "README.md")]
    assert "make run\n" in readme
    assert any("reconciler page\n" in text for text in readme)
    told, code = shell.run(f"git clone --quiet {shlex.quote(str(REPOSITORY))} reconciler && cd reconciler")
    assert code == 0, told
    shell.run("make run > daemon.log 2>&1 &")
    shell.run('export PATH="$PWD/.venv/bin:$PATH" RECONCILER_STATE="$PWD/.state"')
    eventually(lambda: waited(shell), 1200)
    link = urlsplit(shell.run(".venv/bin/reconciler page")[0].split()[0])
    assert link.port is not None
    opened = logged_in(link.port, link.path).headers
    page = fetch(link.port, opened["location"], headers={"Cookie": opened["set-cookie"].partition(";")[0]})
    samples = ("clock", "guestbook", "hello", "notes")
    assert [name for name in samples if f'/apps/{name}"' in page.body] == [*samples]

    lines = (DOCS / "tutorial.md").read_text(encoding="utf-8").splitlines()
    first, end = lines.index("## Serve an app of your own"), lines.index("## Clean up")
    steps = [*blocks(DOCS / "tutorial.md")]
    reader.follow([step for step in steps if first < step.line < end])
    reader.follow([step for step in steps if step.text == "reconciler down\n"])
    assert "make run" not in shell.run("jobs -r")[0]
    assert nothing_runs(reader.state)


@pytest.mark.parametrize("page", ["tutorial.md", "gitops.md"])
def test_every_block_of_a_tutorial_is_a_file_commands_or_what_they_print(page: str) -> None:
    steps = [*blocks(DOCS / page)]
    assert [step.line for step in steps if (step.file is None) is (step.language in {"python", "yaml"})] == []
    prints = zip([None, *steps[:-1]], steps, strict=True)
    assert [step.line for by, step in prints if step.language == "text" and (by is None or by.language != "sh")] == []
