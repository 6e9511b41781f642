"""Which entry points gunicorn can load, by their form."""

import pytest

from reconciler.planning.apps.entrypoint import is_plain, is_well_formed


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
        ("shop:Shop([]).app()", False, False),
        ("shop:(lambda: app)()", False, False),
        ("shop:create_app(", False, False),
        ("shop:" + "a(" * 500, False, False),
        ("shop:" + "(" * 5000, False, False),
        ("shop", False, False),
    ],
)
def test_gunicorn_loads_a_name_or_a_call_of_one(entrypoint: str, well_formed: bool, plain: bool) -> None:
    assert (is_well_formed(entrypoint), is_plain(entrypoint)) == (well_formed, plain)
