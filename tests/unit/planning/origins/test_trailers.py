"""A trailer is a line of a message's last paragraph, and nothing else that looks like one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.planning.origins.trailers import Removals, UnclearTrailer, removals, trailers


def test_names_and_a_number_of_apps_are_read() -> None:
    message = "Remove the shop\n\nIt moved.\n\nReconciler-Removes: shop, blog\nReconciler-Removes: 30 apps\n"
    assert removals(message) == Removals(names=frozenset({"shop", "blog"}), count=30)
    assert removals("Remove\n\nreconciler-removes : 1 app\r\n").count == 1
    assert removals("Remove\n\nReconciler-Removes: shop,\n  service shop-db").names == {"shop", "service shop-db"}


@pytest.mark.parametrize(
    "message",
    [
        "Reconciler-Removes: shop",
        "Subject\nReconciler-Removes: shop",
        "Subject\n\nReconciler-Removes: shop\n\nMore of the text.",
        "Subject\n\nAs git says, one writes\nReconciler-Removes: shop\nat the end.",
        "Subject\n\n Reconciler-Removes: shop",
        "Subject\n\nX-Reconciler-Removes: shop",
        "",
        "\n\n",
    ],
)
def test_what_only_looks_like_a_trailer_permits_nothing(message: str) -> None:
    assert removals(message) == Removals()


def test_lines_between_are_allowed_where_git_allows_them() -> None:
    message = "S\n\n(cherry picked from commit 91c2d0a)\nSigned-off-by: A <a@b>\nnote\nReconciler-Removes: shop\n"
    assert removals(message).names == {"shop"}
    assert trailers("S\n\nSigned-off-by: A <a@b>\nReconciler-Urgent: the key\n  leaked") == (
        ("Signed-off-by", "A <a@b>"),
        ("Reconciler-Urgent", "the key leaked"),
    )


@pytest.mark.parametrize("value", ["Shop", "shop blog", "shop,,blog", "*", "app shop", "-1 apps", ""])
def test_an_unclear_value_is_told_instead_of_guessed(value: str) -> None:
    with pytest.raises(UnclearTrailer, match="expected names such as 'shop, blog', or '30 apps', not"):
        removals(f"S\n\nReconciler-Removes: {value}")


@given(st.text(alphabet=st.sampled_from("aR:-, \n\t\r0"), max_size=60))
def test_any_message_is_read(message: str) -> None:
    assert all(name for name, _ in trailers(message))
