"""Run a command of a manifest in the place of a process, to its end or its deadline, and return what it printed."""

import asyncio
import subprocess
from collections.abc import Mapping
from dataclasses import field

from reconciler.isolation.cells import Cell
from reconciler.linux.child_processes import bound_with_descendants, running
from reconciler.linux.dataclass import dataclass
from reconciler.linux.error_words import in_words

_MOST_BYTES = 4096
_MOST_SHOWN = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A command as it is run: its arguments and environment, and the cell that was made for it, which ends with it."""

    arguments: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)
    cell: Cell | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a command printed at the end, and why it failed, "" if it did not."""

    printed: str = ""
    failed: str = ""

    @property
    def last(self) -> str:
        """The last line that it printed."""
        return _last(self.printed)


async def answer(question: Question, timeout_s: float) -> Answer:
    """Run a command; whatever it started ends with it."""
    try:
        return await _answer(question, timeout_s)
    except TimeoutError:
        return Answer(failed=f"no answer within {timeout_s:g} s")
    except OSError as error:
        return Answer(failed=f"it cannot be run: {in_words(error)}")
    finally:
        if question.cell is not None:
            await asyncio.to_thread(question.cell.end)


async def _answer(question: Question, timeout_s: float) -> Answer:
    argv = bound_with_descendants(question.arguments)
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    async with running(argv, timeout_s, env=dict(question.environment), **pipes) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        async with asyncio.TaskGroup() as both:
            printed, complained = both.create_task(_end_of(child.stdout)), both.create_task(_end_of(child.stderr))
        code = await child.wait()
    if code == 0:
        return Answer(printed=printed.result())
    words = (_last(complained.result()) or _last(printed.result()))[:_MOST_SHOWN]
    return Answer(printed=printed.result(), failed=f"exit code {code}{words and f', {words}'}")


async def _end_of(stream: asyncio.StreamReader) -> str:
    said = b""
    while block := await stream.read(_MOST_BYTES):
        said = (said + block)[-_MOST_BYTES:]
    return said.decode(errors="replace")


def _last(text: str) -> str:
    return next((line.strip() for line in reversed(text.split("\n")) if line.strip()), "")
