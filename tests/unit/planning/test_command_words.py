"""Command lines without a shell: their words, and what is refused because only a shell could do it."""

import shlex
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.planning.apps.command_words import check_words, words_of, words_of_shell_line
from reconciler.planning.command_line import NoCommand, command_of


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
        ("cd api && node .", "needs a shell, for '&&': write [sh, -c, '…']"),
        ("node . | tee log", "needs a shell, for '|': "),
        ("node . > log", "needs a shell, for '>': "),
        ("cd api\nnode .", "needs a shell, for a line break: "),
        ("node 'server.js", "a quotation has no end (no closing quotation)"),
        ("  ", "names no program"),
        ("node $(date)", "needs a shell, for '$(': "),
        ('node "`date`"', "needs a shell, for '`': "),
        ('node "$(date)"', "needs a shell, for '$(': "),
        ("node --pid $$", "needs a shell, for '$$': "),
        ("node --max-old-space-size=$MEM .", "only $PORT, $SOCKET, $HOST are filled in, not $MEM: no shell is run"),
    ],
)
def test_what_only_a_shell_could_do_is_refused(line: str, why: str) -> None:
    with pytest.raises(NoCommand) as refused:
        words_of(line)
    assert str(refused.value).startswith(why)


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
    with suppress(NoCommand):
        assert words_of(line)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("sync $URL", ("sync", "here")),
        ("sync '$URL' \\$URL \"\\$URL\" $URL", ("sync", "$URL", "$URL", "$URL", "here")),
        ("sync '$$' $URL", ("sync", "$$", "here")),
        ("sync '$URL'", ("sync", "$URL")),
        ("find . -exec rm {} ';' -o '|'", ("find", ".", "-exec", "rm", "{}", ";", "-o", "|")),
        ("sh -c 'x $(nproc) `id`; y'", ("sh", "-c", "x $(nproc) `id`; y")),
        ("python a.py \\\n  --all\n", ("python", "a.py", "--all")),
        ("sync ${NONE:-low}$1", ("sync", "low$1")),
    ],
)
def test_what_is_quoted_is_taken_as_it_is_and_the_rest_is_filled_in(line: str, words: tuple[str, ...]) -> None:
    assert command_of(line).arguments({"URL": "here"}) == words


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("poetry run celery -A shop worker", ("celery", "-A", "shop", "worker")),
        ("pipenv run -- python a.py", ("python", "a.py")),
        ("uv run sync.py --all", ("python", "sync.py", "--all")),
        ("uv run --with rich sync.py", ("uv", "run", "--with", "rich", "sync.py")),
        ("/opt/poetry run sync", ("/opt/poetry", "run", "sync")),
        ("poetry run", ("poetry", "run")),
        ("run poetry run", ("run", "poetry", "run")),
    ],
)
def test_a_command_runs_in_the_environment_of_its_build(line: str, words: tuple[str, ...]) -> None:
    assert command_of(line).arguments({}) == words


@given(st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1), min_size=1))
def test_what_was_quoted_is_what_a_process_gets(words: list[str]) -> None:
    with suppress(NoCommand):  # `A=1` alone
        command = command_of(shlex.join(words))
        found = (*(f"{name}={text}" for name, text in command.variables({}).items()), *command.arguments({}))
        assert found[-len(command.words) :] == tuple(words)[-len(command.words) :]
