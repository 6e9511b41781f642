"""Prometheus' own opinion, where its tool can be had."""

import subprocess
from pathlib import Path

import pytest

from tests.support.site import REPOSITORY


def promtool(*words: str, said: str | None = None, within: Path = REPOSITORY) -> str:
    """What the tool prints; fails when it finds anything, skips the test where there is none."""
    try:
        found = subprocess.run(
            [REPOSITORY / "scripts" / "promtool"], capture_output=True, text=True, check=False, timeout=200
        )
    except subprocess.TimeoutExpired:
        pytest.skip("promtool is missing, and its package did not come in time: scripts/promtool")
    if found.returncode != 0:
        pytest.skip("promtool is missing and cannot be had here: scripts/promtool")
    told = subprocess.run(
        [found.stdout.strip(), *words], input=said, cwd=within, capture_output=True, text=True, check=False, timeout=100
    )
    assert told.returncode == 0, told.stdout + told.stderr
    return told.stdout + told.stderr
