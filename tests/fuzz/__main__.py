"""`make fuzz`: each target in turn, with inputs that atheris invents; what makes one fail is minimised and kept.

What it learns stays below `.fuzz/`, where the next run begins. An input that failed is written to `tests/corpus/`,
where the everyday tests try it again for ever.
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
_LEARNT = REPOSITORY / ".fuzz"
_MINIMISING_S = 30.0
_LARGEST_INPUT = 8192  # libFuzzer's own default is half of that; a lock file of two packages needs it


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What became of one target: how often it ran, what it covered, and the inputs that failed."""

    name: str
    executions: int
    covered: int
    failed: tuple[Path, ...]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}; all when none is given")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    asked = parser.parse_args()
    if unknown := set(asked.targets) - set(TARGETS):
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    results = [_fuzz(name, asked.seconds) for name in asked.targets or TARGETS]
    print("\n| target | executions | places in the code reached | inputs that failed |\n|---|---:|---:|---:|")
    for ran in results:
        print(f"| {ran.name} | {ran.executions:,} | {ran.covered:,} | {len(ran.failed)} |")
    print(f"\n{sum(ran.executions for ran in results):,} executions")
    return 1 if any(ran.failed for ran in results) else 0


def _fuzz(name: str, seconds: int) -> Ran:
    """Run one target for that long, in a process of its own, or until an input makes it fail."""
    learnt, given, failures = _LEARNT / name, CORPUS / name, _LEARNT / f"{name}-failed"
    for folder in (learnt, given, failures):
        folder.mkdir(parents=True, exist_ok=True)
    run = subprocess.run(
        (
            *(sys.executable, "-m", "tests.fuzz.one", name, str(learnt), str(given)),
            *(f"-max_total_time={seconds}", f"-max_len={_LARGEST_INPUT}", f"-artifact_prefix={failures}/"),
            *("-timeout=10", "-rss_limit_mb=2048", "-print_final_stats=1"),
        ),
        cwd=REPOSITORY, capture_output=True, text=True, errors="replace", check=False,
    )  # fmt: skip
    executions = _last(r"stat::number_of_executed_units:\s+(\d+)", run.stderr)
    covered = _last(r"\bcov: (\d+)", run.stderr)
    print(f"{name}: {executions:,} executions, {covered:,} places reached", flush=True)
    found = [*failures.iterdir()]
    failed = tuple(kept for failing in found if (kept := _kept(name, failing)))
    for kept in failed:
        print(f"{name} fails on {kept.relative_to(REPOSITORY)}:\n{_how(name, kept.read_bytes())}", flush=True)
    if run.returncode and not found:
        raise SystemExit(f"cannot fuzz {name}:\n{run.stderr[-2000:]}")
    return Ran(name=name, executions=executions, covered=covered, failed=failed)


def _last(pattern: str, text: str) -> int:
    found = re.findall(pattern, text)
    return int(found[-1]) if found else 0


def _kept(name: str, failing: Path) -> Path | None:
    """Minimise the input into the corpus; returns None if it was slow once and does not fail again."""
    content = failing.read_bytes()
    failing.unlink()
    how = _how(name, content).splitlines()[-1:]
    if not how:
        return None
    content = _minimised(content, lambda tried: _how(name, tried).splitlines()[-1:] != how)
    kept = CORPUS / name / f"failed-{hashlib.sha256(content).hexdigest()[:8]}"
    kept.write_bytes(content)
    return kept


def _how(name: str, content: bytes) -> str:
    """How a target fails on an input, in a process of its own; nothing when it does not."""
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
