"""The machine a benchmark ran on, so that a stranger can tell what its figures are worth."""

import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


def facts() -> dict[str, Any]:
    """Processor, memory, kernel, Python, and how busy it was."""
    return {
        "at": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "cpu": _first("/proc/cpuinfo", "model name"),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load": [round(each, 2) for each in os.getloadavg()],
    }


def available_mb() -> float:
    """Memory that can be had without swapping."""
    return int(_first("/proc/meminfo", "MemAvailable").split()[0]) / 1024


def described() -> str:
    """Where this runs, in one line."""
    told = facts()
    return f"{told['cores']} cores, {told['kernel']}, Python {told['python']}, load {told['load'][0]}"


def _first(file: str, key: str) -> str:
    found = (each.partition(":")[2].strip() for each in Path(file).read_text().splitlines() if each.startswith(key))
    return next(found, "unknown")
