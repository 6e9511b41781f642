"""Files of NAME=VALUE, as dotenv reads them."""

import codecs
from contextlib import suppress
from pathlib import Path

import pytest

from reconciler.vault.dotenv import Unusable, pairs_of
from reconciler.vault.secret_reader import SecretReader

FILE = Path("/etc/shop.env")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("A=red", "red"),
        ("export A = red # the colour", "red"),
        ("A=red#ish", "red#ish"),
        ("A=#fff", "#fff"),
        ("A=", ""),
        ("A= # none", ""),
        ("A=it's $5", "it's $5"),
        ("A='hello there' # for guests", "hello there"),
        ('A="hello there"# for guests', "hello there"),
        ('A="a # b"', "a # b"),
        (r'A="one\ntwo\t\"x\" \\ \$ \d"', 'one\ntwo\t"x" \\ \\$ \\d'),
        (r"A='one\ntwo \'x\''", r"one\ntwo 'x'"),
        ('A="-----BEGIN\r\nabc\r\n-----END"\r\nB=2', "-----BEGIN\nabc\n-----END"),
        ("# A=no\n\n  A=yes\n", "yes"),
        ("A=1\nA=2", "2"),
    ],
)
def test_a_value_is_read_as_dotenv_reads_it(text: str, value: str) -> None:
    assert pairs_of(FILE, text)["A"] == value


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("A=1\nwhat is this", "/etc/shop.env:2: expected NAME=VALUE"),
        ("B='x\ny'\nA='x'y'", "/etc/shop.env:3: expected nothing but a comment after the closing '"),
        ('\nA="x\nB=1', '/etc/shop.env:2: the value of A begins with a " that nothing closes'),
    ],
)
def test_what_is_no_value_is_refused_with_its_line_and_without_its_content(text: str, says: str) -> None:
    with pytest.raises(Unusable) as refused:
        pairs_of(FILE, text)
    assert str(refused.value) == says


@pytest.mark.parametrize(
    "text", ["A=" + "\\" * 1_000_000, "A=1\n" * 250_000, 'A="' + "\\" * 999_999, "\n" * 1_000_000, " #" * 500_000]
)
def test_no_content_takes_long_to_read(text: str) -> None:
    with suppress(Unusable):  # what is not linear takes hours
        pairs_of(FILE, text)


def test_a_byte_order_mark_is_no_part_of_a_secret(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    for content in (codecs.BOM_UTF8 + b"hunter2\r\n", codecs.BOM_UTF16_LE + "hunter2\n".encode("utf-16-le")):
        file.write_bytes(content)
        assert SecretReader().value_of(file) == "hunter2"
    file.write_bytes(codecs.BOM_UTF8 + b"A=1\n")
    assert SecretReader().variables_of(file) == {"A": "1"}
