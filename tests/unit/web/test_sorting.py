"""The first page's order and filters are in its address, so that they work without scripts."""

from dataclasses import replace

from reconciler.web.rows import BLANK, Row
from reconciler.web.sorting import View


def _row(name: str, *, state: str = "running", memory: float | None = None) -> Row:
    values: dict[str, float | str | None] = {"app": name, "state": 10.0, "memory": memory}
    return replace(BLANK, name=name, state=state, values=values)


_ROWS = [_row("worst", state="failing"), _row("a", memory=10.0), _row("b", memory=None), _row("c", memory=30.0)]


def _names(**query: str) -> list[str]:
    return [row.name for row in View.of(query).shown(_ROWS)]


def test_the_rows_are_in_the_order_that_the_address_names_and_what_is_unknown_comes_last() -> None:
    assert _names(sort="-memory") == ["c", "a", "worst", "b"]
    assert _names(sort="memory") == ["a", "c", "worst", "b"]
    assert _names(sort="app") == ["a", "b", "c", "worst"]
    assert _names(sort="-app") == ["worst", "c", "b", "a"]


def test_problems_come_first_without_an_order_or_with_one_that_does_not_exist() -> None:
    assert _names() == _names(sort="colour") == _names(sort="--memory") == ["worst", "a", "b", "c"]


def test_a_heading_sorts_numbers_from_the_most_and_turns_its_own_order() -> None:
    columns = {each.name: each for each in View.of({"state": "running", "q": "a b", "sort": "-memory"}).columns()}
    assert columns["memory"].query == "?state=running&q=a+b&sort=memory"
    assert columns["memory"].sorted == "descending"
    assert columns["cpu"].query == "?state=running&q=a+b&sort=-cpu"
    assert columns["app"].query == "?state=running&q=a+b&sort=app"
    assert (columns["app"].sorted, columns["cpu"].sorted) == ("", "")


def test_a_state_and_words_leave_the_rows_that_have_both() -> None:
    assert _names(state="running", q=" A ") == ["a"]
    assert View.of({"q": "x", "state": "failing"}).query(state="") == "?q=x"
    assert View().query() == ""
