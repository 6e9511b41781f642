"""Run one target in this process: `NAME DIRECTORY… [libFuzzer's options]` fuzzes, `--replay NAME FILE` runs once.

Every run has a clock and a bound of memory. The clock counts the time that processors spend on this process, so that
other work of the machine is no failure, and ends what would go on for ever.
"""

import signal
import sys
import tempfile
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

# An input has some kilobytes, and takes milliseconds. What is unpacked is bounded by its target.
_PROCESSOR_S = 10.0
_MEMORY_BYTES = 128 << 20

_INSTRUMENTED = (
    *("reconciler.documents", "reconciler.manifests", "reconciler.staging"),
    *("shlex", "tarfile", "tomllib", "yaml", "zipfile"),
)


def replay(name: str, content: bytes) -> None:
    """Run a target on an input, in an empty directory; raises if a promise is broken."""
    from tests.fuzz.targets import TARGETS

    with tempfile.TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None) as directory, bounded():
        TARGETS[name](content, Path(directory))


@contextmanager
def bounded(processor_s: float = _PROCESSOR_S, memory_bytes: int = _MEMORY_BYTES) -> Iterator[None]:
    """Raise an AssertionError after so many seconds of a processor, or when more memory was held at once."""

    def too_long(_number: int, _frame: FrameType | None) -> None:
        raise AssertionError(f"it takes more than {processor_s:g} s of a processor")

    before = signal.signal(signal.SIGPROF, too_long)
    tracemalloc.start(1)
    signal.setitimer(signal.ITIMER_PROF, processor_s)
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
        tracemalloc.stop()
    assert peak <= memory_bytes, f"it holds {peak} bytes at once"


def main() -> None:
    if sys.argv[1] == "--replay":
        replay(sys.argv[2], Path(sys.argv[3]).read_bytes())
        return
    import atheris

    with atheris.instrument_imports(include=list(_INSTRUMENTED), enable_loader_override=False):
        import tests.fuzz.targets  # noqa: F401 -- imported here, so that its imports are instrumented
    name = sys.argv.pop(1)
    atheris.Setup(sys.argv, lambda content: replay(name, content))
    atheris.Fuzz()


_MEMORY = Path("/dev/shm")

if __name__ == "__main__":
    main()
