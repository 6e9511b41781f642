"""Command lines without a shell: their words, and what is refused because only a shell could do it."""

import shlex
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.planning.apps.command_words import NotAList, check_words, words_of, words_of_shell_line


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("node server.js", ("node", "server.js")),
        ("java -jar 'my shop.jar' --server.port=$PORT", ("java", "-jar", "my shop.jar", "--server.port=$PORT")),
        ("NODE_ENV=production node .", ("env", "NODE_ENV=production", "node", ".")),
        ("puma -b unix://${SOCKET}", ("puma", "-b", "unix://${SOCKET}")),
        ('sh -c "exec x --y=$ANY; z"', ("sh", "-c", "exec x --y=$ANY; z")),
        ("php -S $HOST:$PORT", ("php", "-S", "$HOST:$PORT")),
    ],
)
def test_a_line_is_split_as_a_shell_would(line: str, words: tuple[str, ...]) -> None:
    assert words_of(line) == words


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("cd api && node .", "no shell is run that would understand '&&'"),
        ("node . | tee log", "no shell is run that would understand '|'"),
        ("node . > log", "no shell is run that would understand '>'"),
        ("node 'server.js", "it cannot be split into words: no closing quotation"),
        ("  ", "it is empty"),
        ("node $(date)", "no shell is run that would understand '('"),
        ('node "`date`"', "no shell is run that would understand '`'"),
        ('node "$(date)"', "no shell is run that would understand '$('"),
        ("node --max-old-space-size=$MEM .", "only $PORT, $SOCKET, $HOST are filled in, not $MEM: no shell is run"),
    ],
)
def test_what_only_a_shell_could_do_is_refused(line: str, why: str) -> None:
    with pytest.raises(NotAList) as refused:
        words_of(line)
    assert str(refused.value) == why


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("node server.js", ("node", "server.js")),
        (
            "bundle exec puma -p ${PORT:-3000} -e $RACK_ENV",
            ("sh", "-c", "exec bundle exec puma -p ${PORT:-3000} -e $RACK_ENV"),
        ),
        ("cd web && npm start", ("sh", "-c", "cd web && npm start")),
        ("A=b node $X", ("sh", "-c", "A=b node $X")),
    ],
)
def test_the_line_of_a_procfile_gets_a_shell_where_it_needs_one(line: str, words: tuple[str, ...]) -> None:
    assert words_of_shell_line(line) == words


@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="$"), min_size=1), min_size=1)
)
def test_what_was_quoted_is_what_is_run(words: list[str]) -> None:
    check_words(tuple(words))
    expected = tuple(words)
    found = words_of(shlex.join(words))
    assert found in (expected, ("env", *expected))


@given(st.text())
def test_any_line_is_either_words_or_refused_in_words(line: str) -> None:
    with suppress(NotAList):
        assert words_of(line)
