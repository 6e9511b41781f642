"""The environment of an isolated program: nothing of the app's has an effect before the program is confined."""

from hypothesis import given
from hypothesis import strategies as st

from reconciler.isolation.launching import held_back
from reconciler.isolation.main import given_back

_NAMES = st.from_regex(r"[+A-Za-z_][+A-Za-z0-9_]{0,20}", fullmatch=True)


@given(st.dictionaries(_NAMES | st.sampled_from(["LD_PRELOAD", "RECONCILER_APP", "+LD_PRELOAD"]), st.text(max_size=5)))
def test_what_is_held_back_is_given_back_as_it_was(environment: dict[str, str]) -> None:
    assert given_back(held_back(environment)) == environment


def test_a_program_that_is_not_confined_yet_has_no_variable_of_an_app() -> None:
    held = held_back({"LD_PRELOAD": "/home/own.so", "GCONV_PATH": "/home", "PATH": "/bin", "RECONCILER_APP": "shop"})
    assert all(name.startswith(("+", "RECONCILER_")) for name in held)


def test_what_the_program_gets_from_elsewhere_is_not_passed_on() -> None:
    assert given_back({"LC_CTYPE": "C.UTF-8", "+PATH": "/bin"}) == {"PATH": "/bin"}
