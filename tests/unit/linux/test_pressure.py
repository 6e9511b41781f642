"""Pressure as the kernel tells it."""

import pytest

from reconciler.linux.pressure import Stall, parsed


def test_the_share_and_the_seconds_of_some_process_are_read() -> None:
    text = "some avg10=12.50 avg60=1.00 avg300=0.10 total=2500000\nfull avg10=1.00 avg60=0.00 avg300=0.00 total=7\n"
    assert parsed(text) == Stall(share=0.125, seconds=2.5)


@pytest.mark.parametrize("text", ["", "full avg10=1.00 total=7", "some", "some avg10=x total=1", "some avg10=1.0"])
def test_what_is_none_is_none(text: str) -> None:
    assert parsed(text) is None
