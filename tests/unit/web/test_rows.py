"""The marks of states on the page."""

from typing import get_args

from reconciler.planning.origins.plan import OriginState
from reconciler.web.rows import ORIGIN_MARKS


def test_every_state_of_an_origin_has_a_mark() -> None:
    assert set(ORIGIN_MARKS) == set(get_args(OriginState))
