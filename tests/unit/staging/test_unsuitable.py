"""Which failures of an installer another Python may mend. The outputs are uv's own, shortened."""

import pytest

from reconciler.staging.detection.runtimes import Runtime
from reconciler.staging.environments.unsuitable import unsuitable

PYTHON = Runtime(name="python3.13", description="Python 3.13.0", version="3.13.0", path="/usr/bin/python3.13")


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        (
            (
                "uv: exit code 1\nerror: Failed to build `greenlet==2.0.2`\n"
                "  cause: The build backend returned an error\n"
                "  cause: Call to `setuptools.build_meta:__legacy__.build_wheel` failed (exit status: 1)"
            ),
            "greenlet 2.0.2 cannot be built for Python 3.13",
        ),
        (
            (
                "error: No solution found when resolving dependencies\n"
                "  cause: Because torch==1.13.1 has no wheels with a matching Python ABI tag (e.g., `cp313`)"
                " and you require torch==1.13.1, we can conclude that your"
            ),
            "torch 1.13.1 has no wheel for Python 3.13",
        ),
        (
            (
                "  cause: Because the current Python version (3.13.0) does not satisfy Python>=3.9,<3.13 and numba"
                "==0.59.1 depends on Python>=3.9,<3.13, we can conclude that numba==0.59.1 cannot be used."
            ),
            "numba 0.59.1 does not support Python 3.13",
        ),
        (
            (
                "error: Distribution `torch==1.13.1 @ registry+https://pypi.org/simple` can't be installed because it"
                " doesn't have a source distribution or wheel for the current platform"
            ),
            "torch 1.13.1 has no wheel for Python 3.13",
        ),
        (
            (
                "error: Failed to build `scipy==1.9.3`\n  cause: Failed to resolve requirements from"
                " `build-system.requires`\n  cause: Failed to fetch: `https://pypi.org/simple/numpy/`"
            ),
            "",
        ),
        ("  cause: Because there are no versions of nothing and you require nothing, we can conclude", ""),
        ("error: Failed to build `shop @ file:///builds/shop`\n  cause: The build backend returned an error", ""),
        ("error: Failed to fetch: `https://pypi.org/simple/flask/`\n  cause: operation timed out", ""),
        (
            (
                "  cause: Because the current Python version (3.13.0) does not satisfy Python>=3.14 and new==1.0"
                " depends on Python>=3.14, we can conclude"
            ),
            "",
        ),
        ("error: No space left on device (os error 28)", ""),
    ],
)
def test_a_package_that_cannot_have_a_python_is_named(output: str, reason: str) -> None:
    assert unsuitable(output, PYTHON) == reason


@pytest.mark.parametrize(
    "part", ["x", "x,", "a==b", "a==b<", "does not satisfy Python<", "`a==", "Failed to build `a==1` "]
)
def test_what_a_build_prints_is_looked_through_in_no_time_however_long_its_words(part: str) -> None:
    line = (part * 2000)[:2000]
    assert unsuitable("\n".join([line] * 200), PYTHON) == ""
