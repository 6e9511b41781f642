"""What is shown of an answer that failed a health probe: its text on one line, and of HTML only the title."""

import pytest

from reconciler.serving.gate import readable
from reconciler.serving.probes import _readable


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        ("the database\n is away", "the database is away"),
        ("<!doctype html><html lang=en><head><TITLE>Bad\n Request</TITLE></head>", "Bad Request"),
        ("  <html><body>no title</body></html>", ""),
        ("<title>cut off", "cut off"),
        ("", ""),
    ],
)
def test_a_body_is_shown_on_one_line_and_html_by_its_title(body: str, shown: str) -> None:
    assert readable(body) == shown
    assert _readable(body) == shown
