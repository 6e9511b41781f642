"""`make fuzz`: run each target in turn with inputs that atheris generates, and minimise those that fail.

Its corpus stays below `.fuzz/`, where the next run begins. An input that failed is written to `tests/corpus/`, where
the everyday tests replay it.
"""

import argparse
import hashlib
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.targets import TARGETS
from tests.support.site import REPOSITORY

CORPUS = REPOSITORY / "tests" / "corpus"
_LEARNED = REPOSITORY / ".fuzz"
_MINIMISING_S = 30.0
_MAX_INPUT_BYTES = 8192  # libFuzzer's own default is half of that; a lock file of two packages needs it


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The result of one target: how often it ran, how many edges it covered, and the inputs that failed."""

    name: str
    executions: int
    covered: int
    failed: tuple[Path, ...]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"one of {', '.join(TARGETS)}; default: all")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    arguments = parser.parse_args()
    if unknown := set(arguments.targets) - set(TARGETS):
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    results = [_fuzz(name, arguments.seconds) for name in arguments.targets or TARGETS]
    print("\n| target | executions | edges covered | inputs that failed |\n|---|---:|---:|---:|")
    for result in results:
        print(f"| {result.name} | {result.executions:,} | {result.covered:,} | {len(result.failed)} |")
    print(f"\n{sum(result.executions for result in results):,} executions")
    return 1 if any(result.failed for result in results) else 0


def _fuzz(name: str, seconds: int) -> Result:
    """Run one target for that long, in a process of its own, or until an input fails."""
    learned, given, failures = _LEARNED / name, CORPUS / name, _LEARNED / f"{name}-failed"
    for folder in (learned, given, failures):
        folder.mkdir(parents=True, exist_ok=True)
    run = subprocess.run(
        (
            *(sys.executable, "-m", "tests.fuzz.one", name, str(learned), str(given)),
            *(f"-max_total_time={seconds}", f"-max_len={_MAX_INPUT_BYTES}", f"-artifact_prefix={failures}/"),
            *("-timeout=10", "-rss_limit_mb=2048", "-print_final_stats=1"),
        ),
        cwd=REPOSITORY, capture_output=True, text=True, errors="replace", check=False,
    )  # fmt: skip
    executions = _last(r"stat::number_of_executed_units:\s+(\d+)", run.stderr)
    covered = _last(r"\bcov: (\d+)", run.stderr)
    print(f"{name}: {executions:,} executions, {covered:,} edges covered", flush=True)
    found = [*failures.iterdir()]
    failed = tuple(stored for failing in found if (stored := _store(name, failing)))
    for stored in failed:
        print(f"{name} fails on {stored.relative_to(REPOSITORY)}:\n{_error(name, stored.read_bytes())}", flush=True)
    if run.returncode and not found:
        raise SystemExit(f"cannot fuzz {name}:\n{run.stderr[-2000:]}")
    return Result(name=name, executions=executions, covered=covered, failed=failed)


def _last(pattern: str, text: str) -> int:
    found = re.findall(pattern, text)
    return int(found[-1]) if found else 0


def _store(name: str, failing: Path) -> Path | None:
    """Minimise the input into the corpus; returns None if it was slow once and does not fail again."""
    content = failing.read_bytes()
    failing.unlink()
    error = _error(name, content).splitlines()[-1:]
    if not error:
        return None
    content = _minimised(content, lambda tried: _error(name, tried).splitlines()[-1:] != error)
    stored = CORPUS / name / f"failed-{hashlib.sha256(content).hexdigest()[:8]}"
    stored.write_bytes(content)
    return stored


def _error(name: str, content: bytes) -> str:
    """Return the error of a target on an input, run in a process of its own; "" if it passes."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        command = (sys.executable, "-m", "tests.fuzz.one", "--replay", name, file.name)
        try:
            tried = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=20, check=False)
        except subprocess.TimeoutExpired:
            return "it takes longer than 20 s"
    return tried.stderr if tried.returncode else ""


def _minimised(content: bytes, passes: Callable[[bytes], bool]) -> bytes:
    """Return the shortest input that still fails the same way, as far as leaving out pieces gets in the time."""
    until, piece = time.monotonic() + _MINIMISING_S, len(content) // 2
    while piece and time.monotonic() < until:
        start = 0
        while start < len(content) and time.monotonic() < until:
            without = content[:start] + content[start + piece :]
            if passes(without):
                start += piece
            else:
                content = without
        piece //= 2
    return content


if __name__ == "__main__":
    sys.exit(main())
