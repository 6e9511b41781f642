"""The phase of staging as a value: work and time apart, one sentence as text."""

import pytest

from reconciler.staging.installer_progress import InstallerProgress
from reconciler.staging.progress import Phase


@pytest.mark.parametrize(
    ("phase", "text", "work"),
    [
        (Phase(activity="copying the source"), "copying the source", "copying the source"),
        (Phase(activity="compiling", elapsed_s=3), "compiling (3 s)", "compiling"),
        (
            Phase(activity="installing uv.lock", detail="fetching 3 packages", elapsed_s=12),
            "installing uv.lock: fetching 3 packages (12 s)",
            "installing uv.lock: fetching 3 packages",
        ),
    ],
)
def test_a_phase_reads_as_one_sentence(phase: Phase, text: str, work: str) -> None:
    assert (str(phase), phase.work) == (text, work)


@pytest.mark.parametrize(
    ("lines", "summary"),
    [
        ((), "resolving"),
        (("Resolved 3 packages in 2ms",), "fetching 3 packages"),
        (("Resolved 3 packages", "Downloading numpy (16.0MiB)"), "fetching 3 packages, downloading numpy"),
        (("Resolved 3 packages", "Downloading numpy", " Downloaded numpy"), "fetching 3 packages"),
        (("Resolved 3 packages", "Prepared 3 packages in 1s"), "linking 3 packages"),
        (("Resolved 3 packages", "Installed 3 packages in 1s"), "compiling 3 packages"),
        (("Resolved 1 package", "Prepared 1 package in 1s"), "linking 1 package"),
        (("Resolved 1 package",), "fetching 1 package"),
        (("Collecting flask",), "resolving 1 package so far, collecting flask"),
        (("Collecting flask", "Collecting jinja2"), "resolving 2 packages so far, collecting jinja2"),
        (("Installing collected packages: a, b",), "installing 2 packages"),
        (("some words that no installer is known for",), "resolving"),
    ],
)
def test_the_output_of_an_installer_tells_how_far_it_is(lines: tuple[str, ...], summary: str) -> None:
    progress = InstallerProgress()
    for line in lines:
        progress.feed(line)
    assert progress.summary() == summary
