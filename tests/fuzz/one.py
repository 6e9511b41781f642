"""Run one target in this process: `NAME DIRECTORY… [libFuzzer's options]` fuzzes, `--replay NAME FILE` runs once."""

import sys
import tempfile
from pathlib import Path

_INSTRUMENTED = (
    *("reconciler.documents", "reconciler.manifests", "reconciler.staging"),
    *("shlex", "tarfile", "tomllib", "yaml", "zipfile"),
)


def replay(name: str, content: bytes) -> None:
    """Run a target on an input, in an empty directory; raises if a promise is broken."""
    from tests.fuzz.targets import TARGETS

    with tempfile.TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None) as directory:
        TARGETS[name](content, Path(directory))


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
