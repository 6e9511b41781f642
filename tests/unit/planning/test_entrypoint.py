"""Which entry points gunicorn can load, by their form."""

import pytest

from reconciler.planning.apps.entrypoint import is_plain, is_self_contained, is_well_formed


@pytest.mark.parametrize(
    ("entrypoint", "well_formed", "plain"),
    [
        ("shop:app", True, True),
        ("shop.web:create_app()", True, True),
        ("shop:create_app('live', debug=False, tags=('a', ['b']))", True, True),
        ("shop:site.wsgi", True, False),
        ("shop:site.create_app()", True, False),
        ("shop:create_app(Config)", True, False),
        ("shop:create_app(**options)", True, False),
        ("shop:Shop([]).app()", True, False),
        ("shop:Shop(Config).app()", True, False),
        ("shop:[].pop()", False, False),
        ("shop:Shop()[0]", False, False),
        ("shop:(lambda: app)()", False, False),
        ("shop:create_app(", False, False),
        ("shop:" + "a(" * 500, False, False),
        ("shop:" + "(" * 5000, False, False),
        ("shop", False, False),
    ],
)
def test_an_entry_point_begins_with_a_name_and_gunicorn_loads_only_that_or_a_call_of_it(
    entrypoint: str, well_formed: bool, plain: bool
) -> None:
    assert (is_well_formed(entrypoint), is_plain(entrypoint)) == (well_formed, plain)


@pytest.mark.parametrize(
    ("entrypoint", "self_contained"),
    [
        ("shop:app", True),
        ("shop:site.wsgi", True),
        ("shop:Shop([], debug=False).app()", True),
        ("shop:Shop().app().wsgi", True),
        ("shop:Shop(Config).app()", False),
        ("shop:Shop(**options).app()", False),
        ("shop:Shop().app(lambda: 1)", False),
        ("shop", False),
    ],
)
def test_a_module_can_make_what_only_plain_values_make(entrypoint: str, self_contained: bool) -> None:
    assert is_self_contained(entrypoint) is self_contained
