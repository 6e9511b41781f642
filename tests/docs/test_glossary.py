"""One word for one thing: none of the words that docs/glossary.md replaces is in docs, help, schemas or messages."""

import ast
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import click
import pytest

from reconciler.cli.main import group
from tests.support.documents import DOCS, pages
from tests.support.site import REPOSITORY

GLOSSARY = DOCS / "glossary.md"
COMMANDS = DOCS / "reference" / "commands.md"  # written from the command line's help, which has a test of its own
PACKAGE = REPOSITORY / "reconciler"

# Where a replaced word may stand all the same: the file, the word, and why.
ALLOWED: Mapping[tuple[str, str], str] = {
    ("reconciler/serving/programs/gunicorn.config.template", "doorbell"): "gate.py's argument; instances name it",
    ("reconciler/state/paths.py", "doorbell"): "the name of the pipe of earlier versions",
    ("reconciler/state/revision_history.py", "proven"): "the word in the database",
    **dict.fromkeys(
        (("reconciler/state/migrations.py", word) for word in ("wish", "unwell", "asleep", "died")),
        "the kinds of events that version 2 wrote",
    ),
}

_ROW = re.compile(r"^\| (\*\*[^|]+) \|[^|]+\|([^|]*)\|$", re.MULTILINE)
_TEXT = re.compile(r'"(?:description|errorMessage|title)": "((?:[^"\\]|\\.)*)"')


@cache
def replaced() -> Mapping[str, str]:
    """Each replaced word or phrase, with the word to use, or the words where it stood for several things."""
    found: dict[str, str] = {}
    for word, instead in _ROW.findall(GLOSSARY.read_text(encoding="utf-8")):
        for old in re.findall(r"`([^`]+)`", instead):
            found[old] = " or ".join(filter(None, (found.get(old), word.replace("*", ""))))
    return found


@cache
def pattern() -> "re.Pattern[str]":
    """Any of them as whole words, however a phrase is broken into lines."""
    phrases = sorted(replaced(), key=len, reverse=True)
    return re.compile(
        r"\b(" + "|".join(re.escape(each).replace(r"\ ", r"\s+") for each in phrases) + r")\b", re.IGNORECASE
    )


def said(where: str, text: str, line: int = 1) -> Iterator[str]:
    """What is wrong with a text, as file:line, the word, and the word to use; `line` is where the text begins."""
    for found in pattern().finditer(text):
        word = " ".join(found[1].lower().split())
        if (where, word) not in ALLOWED:
            yield f"{where}:{line + text.count(chr(10), 0, found.start())}: '{word}': say {replaced()[word]}"


def literals(path: Path) -> Iterator[tuple[int, str]]:
    """The string literals of a module, docstrings and the texts of f-strings included, with their lines."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


def named(path: Path) -> str:
    return str(path.relative_to(REPOSITORY))


@pytest.mark.parametrize("page", [page for page in pages() if page not in {GLOSSARY, COMMANDS}], ids=named)
def test_a_page_uses_the_words_of_the_glossary(page: Path) -> None:
    assert [*said(named(page), page.read_text(encoding="utf-8"))] == []


@pytest.mark.parametrize("schema", sorted((REPOSITORY / "schemas").glob("*.json")), ids=named)
def test_a_schema_uses_the_words_of_the_glossary(schema: Path) -> None:
    lines = schema.read_text(encoding="utf-8").splitlines()
    wrong = [
        each
        for number, line in enumerate(lines, 1)
        for text in _TEXT.findall(line)
        for each in said(named(schema), text, number)
    ]
    assert wrong == []


def test_the_help_of_every_command_uses_the_words_of_the_glossary() -> None:
    above = click.Context(group, info_name="reconciler")
    wrong = [*said("reconciler --help", group.get_help(above))]
    for name in group.list_commands(above):
        command = group.get_command(above, name)
        assert command is not None
        wrong += said(
            f"reconciler {name} --help", command.get_help(click.Context(command, info_name=name, parent=above))
        )
    assert wrong == []


@pytest.mark.parametrize("folder", sorted(path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()))
def test_a_folder_of_the_package_uses_the_words_of_the_glossary(folder: str) -> None:
    modules = sorted((PACKAGE / folder).rglob("*.py"))
    texts = sorted(path for ending in ("html", "template") for path in (PACKAGE / folder).rglob(f"*.{ending}"))
    wrong = [each for path in modules for line, text in literals(path) for each in said(named(path), text, line)]
    wrong += [each for path in texts for each in said(named(path), path.read_text(encoding="utf-8"))]
    assert wrong == []


def test_the_modules_at_the_top_use_the_words_of_the_glossary() -> None:
    modules = sorted(PACKAGE.glob("*.py"))
    assert [each for path in modules for line, text in literals(path) for each in said(named(path), text, line)] == []


def test_the_glossary_replaces_no_word_that_it_uses() -> None:
    text = GLOSSARY.read_text(encoding="utf-8")
    words = {word for cell, _ in _ROW.findall(text) for word in re.findall(r"\*\*([^*]+)\*\*", cell)}
    assert len(words) > 40
    assert words & set(replaced()) == set()
    meanings = re.sub(r"`[^`]+`", "", text)  # quoted, a replaced word may stand here
    assert [*said(named(GLOSSARY), meanings)] == []


def test_what_is_allowed_is_there() -> None:
    texts = {where: (REPOSITORY / where).read_text(encoding="utf-8").lower() for where, _ in ALLOWED}
    assert [key for key in ALLOWED if key[1] not in texts[key[0]]] == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Whoever asks\nis told.", ["x:1: 'whoever': say operator, client, user, program"]),
        ("a\nwarm\n  template", ["x:2: 'warm template': say fork server"]),
        ("indoors, doorstep, died_at, well", []),
    ],
)
def test_a_replaced_word_is_found_as_a_whole_word_over_lines(text: str, found: list[str]) -> None:
    assert [*said("x", text)] == found


@pytest.mark.parametrize("folder", ["cases", "fronts", "peers"])
def test_what_benchmarks_write_into_the_page_uses_the_words_of_the_glossary(folder: str) -> None:
    modules = sorted((REPOSITORY / "benchmarks" / folder).glob("*.py"))
    assert [each for path in modules for line, text in literals(path) for each in said(named(path), text, line)] == []
