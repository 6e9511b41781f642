"""What the documentation shows is true: its manifests are accepted, its commands exist, its links lead somewhere."""

import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, get_args

import click
import pytest
import yaml

from reconciler.cli.main import group
from reconciler.documents.schemas import schema, validator
from reconciler.manifests.app_document import HostDefaults
from reconciler.manifests.git.fleet_file import fleet_of
from reconciler.manifests.parse_file import parse
from reconciler.planning.apps.actions import Action
from reconciler.planning.apps.app import CrashPolicy
from reconciler.planning.reason import Reason
from reconciler.settings.file import parse as parse_settings
from reconciler.settings.settings import Settings
from reconciler.state.paths import StatePaths
from tests.support.documents import DOCS, Block, blocks, pages
from tests.support.site import REPOSITORY
from tests.tools.reference import PAGE, commands

PAGES = [pytest.param(page, id=str(page.relative_to(REPOSITORY))) for page in pages()]
HOST = HostDefaults(auto_workers=5, crash=CrashPolicy(first_s=1, cap_s=60, good_run_s=60))
SETTINGS = Settings(manifests=Path("/m"), paths=StatePaths(state=Path("/s")))

_SPAN = re.compile(r"`(reconciler [^`]+)`")
_LINK = re.compile(r"\]\(([^)#\s]*)(?:#([\w-]+))?\)")
_ROW = re.compile(r"^\| `([\w.]+)` \|(.*)\|(.*)\|(.*)\|$", re.MULTILINE)
_INSIDE = re.compile(r"\$\(([^)]*)\)")


# Commands


def command_lines(page: Path) -> Iterator[tuple[str, bool]]:
    """Every command line of `reconciler` on a page, and whether it is a whole one, from a block of commands."""
    for block in blocks(page):
        if block.language == "sh":
            for line in block.text.splitlines():
                yield from ((told, True) for told in (line, *_INSIDE.findall(line)))
    for span in _SPAN.finditer(page.read_text(encoding="utf-8")):
        if "[OPTIONS]" not in span[1]:
            yield span[1], False


def words_of(line: str) -> Iterator[list[str]]:
    """The arguments of each `reconciler` in a line for a shell."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] | None = None
    for word in (*lexer, ";"):
        if set(word) <= set("();<>|&"):
            if words is not None:
                yield words
            words = None
        elif words is not None:
            words.append(word)
        elif word.rpartition("/")[2] == "reconciler":
            words = []


def misfit(words: list[str], *, whole: bool) -> str | None:
    """What the command line of today would say against these arguments, None when it takes them."""
    if not words or words[0].startswith("-") or words[0] == "COMMAND" or "--help" in words:
        return None
    above = click.Context(group, info_name="reconciler")
    command = group.get_command(above, words[0])
    if command is None:
        return "there is no such command"
    ctx = click.Context(command, info_name=words[0], parent=above, **command.context_settings)
    try:
        given, _, _ = command.make_parser(ctx).parse_args(words[1:])
        for parameter in command.params:
            value = given.get(parameter.name or "")
            if isinstance(parameter.type, click.Choice) and value is not None:
                for each in value if isinstance(value, list | tuple) else [value]:
                    parameter.type.convert(each, parameter, ctx)
    except click.UsageError as error:
        return error.format_message()
    arguments = [parameter for parameter in command.params if isinstance(parameter, click.Argument)]
    missing = [
        each.name for each in arguments if each.required and not isinstance(given.get(each.name or ""), str | tuple)
    ]
    return f"missing: {missing}" if whole and missing else None


@pytest.mark.parametrize("page", PAGES)
def test_every_command_line_that_is_shown_is_one(page: Path) -> None:
    wrong = {
        f"{' '.join(words)}: {why}"
        for line, whole in command_lines(page)
        for words in words_of(line)
        if (why := misfit(words, whole=whole))
    }
    assert wrong == set()


@pytest.mark.parametrize(
    "line",
    [
        "reconciler shine",
        "reconciler status --wach",
        "cd / && reconciler logs blog --which acess | less",
        "reconciler rollback > log",
    ],
)
def test_a_command_line_that_is_none_is_noticed(line: str) -> None:
    (words,) = words_of(line)
    assert misfit(words, whole=True)


def test_the_command_lines_of_a_page_are_found() -> None:
    found = [words for line, _ in command_lines(DOCS / "tutorial.md") for words in words_of(line)]
    assert ["plan"] in found
    assert ["run", "--page"] in found  # that is, without > and &


def test_a_command_line_inside_another_is_found() -> None:
    inside = [words for line in _INSIDE.findall('kill "$(reconciler status | awk)"') for words in words_of(line)]
    assert inside == [["status"]]


def test_the_architecture_names_every_folder_of_the_package_and_no_path_that_is_not_there() -> None:
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    package = REPOSITORY / "reconciler"
    named = set(re.findall(r"`([a-z_]+(?:/[a-z_]+)*(?:/|\.py))`", text)) - {"world.py"}  # one in each World's folder
    tops = {f"{path.parent.name}/" for path in package.glob("*/__init__.py")}
    assert tops - named == set(), "say in docs/architecture.md what each is responsible for"
    made = {"_version.py"}  # by the build
    missing = {path for path in named - made if not ((package / path).exists() or (REPOSITORY / path).exists())}
    assert missing == set()


def test_the_reference_of_the_actions_names_every_action() -> None:
    text = (DOCS / "reference" / "actions.md").read_text(encoding="utf-8")
    table = set(re.findall(r"^\| `([A-Z]\w+)` \|", text.split("\n## Of apps\n")[1].split("\n## ")[0], re.MULTILINE))
    assert table == {action.__name__ for action in get_args(Action)}


def test_the_fields_of_an_event_are_those_of_the_schema() -> None:
    assert first_cells(DOCS / "reference" / "events.md", "## Fields") == set(schema("event")["properties"])


def test_the_reference_of_the_reasons_names_every_reason() -> None:
    text = (DOCS / "reference" / "reasons.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `([a-z-]+)` \|", text, re.MULTILINE)
    assert sorted(listed) == sorted(reason for reason in Reason if reason)


def test_the_reference_of_the_commands_is_what_the_command_line_says() -> None:
    assert PAGE.read_text(encoding="utf-8") == commands(), "run scripts/reference, and commit what it writes"


# Manifests


def problems(block: Block, page: Path) -> list[str]:
    """What is wrong with a YAML block, be it manifests, the host's settings, or a few fields of a manifest."""
    documents = [document for document in yaml.safe_load_all(block.text) if document is not None]
    file = f"/m/{Path(block.file or 'shown.yaml').name}"
    if documents[0].get("kind") == "fleet":
        fleet = fleet_of(file, block.text.encode())
        return [str(problem) for problem in fleet] if isinstance(fleet, list) else []
    if all(set(document) & {"path", "source", "kind"} for document in documents):
        return [str(problem) for problem in parse(file, block.text.encode(), HOST).problems]
    if set(documents[0]) <= set(schema("host")["properties"]) and block.file in {None, "host.yaml"}:
        return [str(problem) for problem in parse_settings(file, block.text.encode(), SETTINGS).problems]
    return [str(problem) for problem in parse(file, f"path: .\n{block.text}".encode(), HOST).problems]


@pytest.mark.parametrize("page", PAGES)
def test_every_manifest_that_is_shown_is_accepted(page: Path) -> None:
    shown = [
        block for block in blocks(page) if block.language == "yaml" and not block.text.startswith("# manifest.yml")
    ]
    told = {block.line: problems(block, page) for block in shown}
    mistake = "wrokers: unknown field 'wrokers'; did you mean 'workers'?"  # which the tutorial makes on purpose
    assert [f"{line}: {problem}" for line, found in told.items() for problem in found if mistake not in problem] == []


def test_every_guide_shows_commands_or_a_file_to_save() -> None:
    without = [
        page.name
        for page in (DOCS / "howto").glob("*.md")
        if not any(block.language == "sh" or (block.file and block.language == "yaml") for block in blocks(page))
    ]
    assert without == []


# Fields


@cache
def fields(kind: str) -> dict[str, dict[str, Any]]:
    """The fields of a schema that a table lists, by their whole names: those inside objects and inside lists, too."""
    found = {}
    for name, about in schema(kind)["properties"].items():
        found[name] = about
        for inside in (about, about.get("items", {})):
            for part, inner in inside.get("properties", {}).items():
                found[f"{name}.{part}"] = inner
                if kind == "host" and inner.get("required") != ["file"]:
                    found.update({f"{name}.{part}.{deep}": each for deep, each in inner.get("properties", {}).items()})
    return found


def listed(kind: str) -> set[str]:
    """What a table of fields has to list: of the host's settings the innermost, whose parents have no row."""
    names = set(fields(kind)) - {name for name in fields(kind) if name.startswith("notifications.")}
    if kind == "host":
        names -= {name.rsplit(".", ends)[0] for name in names for ends in range(1, name.count(".") + 1)}
    return names


def rows(page: Path, heading: str) -> dict[str, tuple[str, str, str]]:
    """The table of fields below a heading: what each says, its default, its examples."""
    text = page.read_text(encoding="utf-8")
    begin = text.index(f"{heading}\n")
    below = text[begin : text.find("\n## ", begin) % (len(text) + 1)]
    return {row[1]: (row[2].strip(), row[3].strip(), row[4].strip()) for row in _ROW.finditer(below)}


def accepts(kind: str, field: dict[str, Any], value: Any) -> bool:
    whole = {**field, "$defs": schema(kind).get("$defs", {})}
    return bool(type(validator(kind))(whole).is_valid(value))


TABLES = [
    ("app", "reference/manifest.md", "## An app"),
    ("service", "reference/manifest.md", "## A service"),
    ("host", "reference/host-settings.md", "# Host settings"),
]


@pytest.mark.parametrize(("kind", "page", "heading"), TABLES)
def test_a_table_of_fields_lists_those_of_the_schema_and_no_others(kind: str, page: str, heading: str) -> None:
    assert set(rows(DOCS / page, heading)) == listed(kind)


def first_cells(page: Path, heading: str) -> set[str]:
    """The names in the first cells of the table below a heading."""
    below = page.read_text(encoding="utf-8").split(f"\n{heading}\n")[1].split("\n## ")[0]
    return {
        name for cell in re.findall(r"^\| (`[^|]+) \|", below, re.MULTILINE) for name in re.findall(r"`(\w+)`", cell)
    }


def test_the_options_of_a_server_are_those_of_the_schema() -> None:
    servers = schema("host")["properties"]["services"]["properties"]["servers"]["additionalProperties"]
    assert first_cells(DOCS / "reference" / "servers.md", "## Options") == set(servers["properties"])


def test_the_fields_of_a_schedule_are_those_of_the_schema() -> None:
    of = schema("app")["properties"]["schedules"]["additionalProperties"]["properties"]
    told = rows(DOCS / "reference" / "manifest.md", "## A schedule")
    assert set(told) == set(of)
    for name, (_, default, examples) in told.items():
        meant = of[name].get("default")
        assert not meant if not default.startswith("`") else True, name
        for example in re.findall(r"`([^`]+)`", examples):
            assert accepts("app", of[name], yaml.safe_load(example)), name


def test_the_fields_of_a_notification_target_are_those_of_the_schema() -> None:
    target = schema("host")["properties"]["notifications"]["items"]
    assert first_cells(DOCS / "reference" / "notifications.md", "## A target") == set(target["properties"])


def test_the_fields_of_a_process_are_those_of_the_schema() -> None:
    process = schema("app")["properties"]["processes"]["additionalProperties"]["properties"]
    inner = {f"{name}.{part}" for name, about in process.items() for part in about.get("properties", ())}
    page = (DOCS / "reference" / "manifest.md").read_text(encoding="utf-8")
    below = page.split("\n## Processes\n")[1].split("\n## ")[0]
    assert set(re.findall(r"^\| `([\w.]+)` \|", below, re.MULTILINE)) == {*process, *inner}


def unknown(page: Path) -> set[str]:
    """Names in backticks that look like a field or a setting below a known one, and are none."""
    parents = {name.partition(".")[0] for kind in ("app", "host") for name in fields(kind) if "." in name}
    known = {name for kind in ("app", "service", "host") for name in fields(kind)}
    spans = re.findall(r"`([a-z_]+)\.([a-z_]+)`", page.read_text(encoding="utf-8"))
    spans = [(parent, part) for parent, part in spans if parent in parents and part not in {"log", "py", "sock"}]
    return {f"{parent}.{part}" for parent, part in spans} - known


@pytest.mark.parametrize("page", PAGES)
def test_every_field_that_is_named_exists(page: Path) -> None:
    assert unknown(page) == set()


def test_a_field_that_does_not_exist_is_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("`health.path`, `logs.limit`, `health.pth`, `services.examined`, `wsgi.py`, `os.environ`\n")
    assert unknown(page) == {"health.pth", "services.examined"}


@pytest.mark.parametrize("page", PAGES)
def test_every_setting_in_a_sentence_has_the_default_of_the_schema(page: Path) -> None:
    """`probation` (10 s), `starting.keep_warm` (15 minutes) and the like."""
    text = page.read_text(encoding="utf-8")
    wrong = []
    for name, number, unit in re.findall(r"`([a-z_.]+)`\s+\((\d+)\s+(ms|s|minutes|hours|days)\)", text):
        meant = [
            about.get("default") for kind in ("app", "host") for each, about in fields(kind).items() if each == name
        ]
        short = f"{number}{unit if unit in {'ms', 's'} else unit[0]}"
        if not meant or short not in meant:
            wrong.append(f"{name}: {short} is written, {meant} is meant")
    assert wrong == []


@pytest.mark.parametrize(("kind", "page", "heading"), TABLES)
def test_a_table_of_fields_has_the_defaults_of_the_schema(kind: str, page: str, heading: str) -> None:
    wrong = []
    for name, (_, told, _) in rows(DOCS / page, heading).items():
        meant = fields(kind)[name].get("default")
        if meant not in (None, {}, []) and (not told.startswith("`") or yaml.safe_load(told.strip("`")) != meant):
            wrong.append(f"{name}: {told} is told, {meant} is meant")
    assert wrong == []


@pytest.mark.parametrize(("kind", "page", "heading"), TABLES)
def test_a_table_of_fields_has_examples_that_are_accepted(kind: str, page: str, heading: str) -> None:
    refused = [
        f"{name}: {example}"
        for name, (_, _, examples) in rows(DOCS / page, heading).items()
        for example in re.findall(r"`([^`]+)`", examples)
        if not accepts(kind, fields(kind)[name], yaml.safe_load(example))
    ]
    assert refused == []


# Links


def anchors(page: Path) -> set[str]:
    """What a heading of the page is linked by."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: Path) -> None:
    dead = []
    for where, anchor in _LINK.findall(page.read_text(encoding="utf-8")):
        if "://" in where:
            continue
        target = page.parent / where if where else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            dead.append(f"{where}#{anchor}")
    assert dead == []


def test_every_page_is_in_the_index() -> None:
    index = DOCS / "README.md"
    linked = {(DOCS / where).resolve() for where, _ in _LINK.findall(index.read_text(encoding="utf-8"))}
    assert [str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md") if page != index and page not in linked] == []
