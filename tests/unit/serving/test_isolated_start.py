"""An instance that says nothing of its isolation is told by what became of it."""

import asyncio
from typing import cast

import pytest

from reconciler.isolation.launching import Report
from reconciler.linux.processes import KILLED
from reconciler.planning.isolation.confinement import Confinement
from reconciler.serving.isolated_start import proof_of_start
from reconciler.serving.live_instance import CannotStart, LiveInstance


class Ended:
    """What ended so, and had said a word."""

    def __init__(self, end: str) -> None:
        self.end = end

    async def ended(self) -> None:
        await asyncio.sleep(0)

    def last_words(self) -> str:
        return "no such file"


@pytest.mark.parametrize(
    ("end", "told"),
    [
        ("exited with code 1", "it cannot be isolated: no such file"),
        (f"{KILLED}: it needed more than 32M", f"it {KILLED}: it needed more than 32M"),
    ],
)
def test_one_that_ends_unproved_is_told_by_its_end(end: str, told: str) -> None:
    async def proved() -> str:
        return await proof_of_start(cast("LiveInstance", Ended(end)), Confinement(isolation="strict"), Report.opened())

    with pytest.raises(CannotStart) as refused:
        asyncio.run(proved())
    assert str(refused.value) == told
