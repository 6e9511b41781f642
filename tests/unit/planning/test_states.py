"""The table of states is complete, and each state can be explained."""

from typing import get_args

import pytest

from reconciler.planning.origins.plan import OriginState
from reconciler.planning.states import APP_STATES, ORIGIN_STATES, SERVICE_STATES, AppState, ServiceStateName, StateInfo


def test_every_state_is_in_the_table_once_and_in_its_order() -> None:
    assert tuple(state.name for state in APP_STATES) == get_args(AppState)
    assert tuple(state.name for state in SERVICE_STATES) == get_args(ServiceStateName)
    assert {state.name for state in ORIGIN_STATES} == set(get_args(OriginState))


@pytest.mark.parametrize("state", [*APP_STATES, *SERVICE_STATES, *ORIGIN_STATES], ids=lambda state: state.name)
def test_a_state_says_what_it_means_in_one_sentence(state: StateInfo) -> None:
    assert state.meaning.endswith(".")
    assert state.meaning.count(". ") == 0
