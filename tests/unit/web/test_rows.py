"""The marks of states on the page, and what it says of a canary."""

from typing import get_args

from reconciler.inspection.status import AppRow
from reconciler.planning.origins.plan import OriginState
from reconciler.web.app_links import Viewer
from reconciler.web.rows import ORIGIN_MARKS, row
from reconciler.web.status_cache import Status


def test_every_state_of_an_origin_has_a_mark() -> None:
    assert set(ORIGIN_MARKS) == set(get_args(OriginState))


def test_a_canary_stands_with_its_part_of_new_connections() -> None:
    facts = AppRow(name="shop", state="canary", canary_share=0.25).facts()
    found = row(facts, Status(facts={"apps": [facts]}, loads={}, up_s=None, last_event=0), Viewer(None))
    assert (found.cells["state"], found.state, found.mark) == ("canary 25%", "canary", "disc")
