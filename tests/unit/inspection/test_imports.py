"""Foreign files become manifests: each value of them is used or said not to be, and no secret is in the text."""

import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from reconciler.documents.schemas import schema
from reconciler.inspection.imports import advice
from reconciler.inspection.imports.foreign_text import Folder, Unreadable, ini_items, yaml_items
from reconciler.inspection.imports.importing import Imported, imported
from reconciler.inspection.imports.kinds import READERS, found_in
from reconciler.inspection.imports.ledger import Ledger
from tests.support.site import REPOSITORY

SAMPLES = REPOSITORY / "tests" / "projects" / "imports"
SECRETS = ("tell-nobody-of-this", "nor-of-this")
# The directory of a sample, with its kind and what its app's manifest says.
CASES = [
    ("heroku", "procfile", {"workers": 2, "threads": 4, "services": ["blog-postgresql"]}),
    (
        "dokku",
        "procfile",
        {
            "health": {"path": "/healthz", "host": "blog.example.com", "timeout": "5s", "failures": 4},
            "release": "python compress.py",
        },
    ),
    ("compose", "compose", {"entrypoint": "blog:app", "port": 8080, "services": ["db"], "workers": 2}),
    ("cloud-foundry", "cloud-foundry", {"workers": 6, "release": "python manage.py migrate"}),
    ("supervisord", "supervisord", {"port": 8001, "gunicorn": {"timeout": 60, "max_requests": 1000}}),
    ("systemd", "systemd", {"path": "/srv/blog", "env_files": ["/etc/blog.env"], "stop_timeout": "20s"}),
    ("piku", "piku", {"port": 9080, "workers": 4, "idle_after": "900s", "watch": False}),
    ("uwsgi", "uwsgi", {"entrypoint": "blog:app", "threads": 2, "gunicorn": {"timeout": 30}}),
    ("kamal", "kamal", {"entrypoint": "blog:app", "workers": 2, "stop_timeout": "20s"}),
]
NAMES = [case[0] for case in CASES]


def read(name: str, directory: Path) -> Imported:
    return imported(found_in(SAMPLES / name)[:1], directory)


def app_of(result: Imported) -> dict[str, object]:
    (text,) = (each.text for each in result.manifests if each.kind == "app")
    document: dict[str, object] = yaml.safe_load(text)
    return document


@pytest.mark.parametrize(("name", "kind", "says"), CASES, ids=NAMES)
def test_a_sample_becomes_a_manifest_that_is_valid(
    name: str, kind: str, says: dict[str, object], tmp_path: Path
) -> None:
    assert found_in(SAMPLES / name)[0].kind == kind
    result = read(name, tmp_path)
    assert result.problems == []
    document = app_of(result)
    assert {key: document.get(key) for key in says} == says


@pytest.mark.parametrize("name", NAMES)
def test_each_value_of_a_file_is_used_or_said_not_to_be(name: str) -> None:
    (found,) = found_in(SAMPLES / name)[:1]
    ledger = Ledger()
    drafts = READERS[found.kind](ledger, found.folder, found.names[0])
    ledger.leave_rest()
    assert [*ledger.unaccounted()] == []
    notes = [*ledger.notes, *(note for draft in drafts for note in draft.notes)]
    said = {(note.file, note.line) for note in notes}
    files = {item.file for item in ledger.items}
    for file in files:
        last = len(found.folder.text(file).splitlines())
        assert all(1 <= line <= last for where, line in said if where == file)
    mentioned = {(item.file, item.line) for item in ledger.items if item.place in ledger.used} | said
    # A line of a group that is left as a whole is in the note of the group's first.
    grouped = {(item.file, item.line) for item in ledger.items if item.place in ledger.left}
    assert {(item.file, item.line) for item in ledger.items} <= mentioned | grouped


@pytest.mark.parametrize("name", [name for name in NAMES if name != "dokku"])
def test_a_field_that_no_reader_knows_is_said(name: str, tmp_path: Path) -> None:
    result = read(name, tmp_path)
    text = "".join(manifest.text for manifest in result.manifests).lower()
    known = {"piku": "this is no line"}
    assert known.get(name, "unheard") in text.replace("_", "").replace("-", "")


@pytest.mark.parametrize("name", NAMES)
def test_no_secret_is_in_a_manifest_but_in_a_file_of_its_own(name: str, tmp_path: Path) -> None:
    result = read(name, tmp_path)
    original = "".join(path.read_text() for path in sorted((SAMPLES / name).iterdir()) if path.is_file())
    for manifest in result.manifests:
        assert not any(secret in manifest.text for secret in SECRETS)
    if SECRETS[0] in original:
        values = [value for manifest in result.manifests for value in manifest.secrets.values()]
        assert any(SECRETS[0] in value for value in values)


def test_what_has_no_counterpart_yet_is_a_comment_with_its_line(tmp_path: Path) -> None:
    text = "".join(manifest.text for manifest in read("heroku", tmp_path).manifests)
    assert "processes: {worker: 1" in text
    assert "# Procfile:5: this is no line of a Procfile" in text
    assert "# app.json:5:" in text


def test_what_dokku_does_that_this_host_does_not_is_said_one_by_one(tmp_path: Path) -> None:
    (manifest,) = read("dokku", tmp_path).manifests
    assert {note.original: note.advice.partition(":")[0] for note in manifest.notes if note.file == "app.json"} == {
        "httpHeaders: name: Accept, value: text/plain": "probes have no header but 'health.host'",
        "initialDelay: 10": "probes begin once the workers are ready",
        "worker: type: uptime, uptime: 10": "set 'health'; it has one path",
        "quantity: 3": "set 'workers' for the web, 'count' of other processes, and 'limits' for what they may use",
        "cron: command: python clean.py, schedule: 0 4 * * *": "its times are those of UTC",
        "postdeploy: python warm.py": "nothing runs after a deploy",
    }


def test_the_address_that_a_platform_gives_is_not_listened_on(tmp_path: Path) -> None:
    assert "host" not in app_of(read("heroku", tmp_path))


def test_references_of_compose_are_replaced_and_an_address_of_a_container_is_left(tmp_path: Path) -> None:
    env = app_of(read("compose", tmp_path))["env"]
    assert env == {"LEVEL": "info", "GREETING": "hello", "SECRET_KEY": {"file": "secrets/web-secret-key"}}


def test_several_kinds_in_a_directory_are_all_found_the_likeliest_first(tmp_path: Path) -> None:
    shutil.copytree(SAMPLES / "heroku", tmp_path, dirs_exist_ok=True)
    shutil.copy(SAMPLES / "cloud-foundry" / "manifest.yml", tmp_path)
    shutil.copy(SAMPLES / "uwsgi" / "blog.ini", tmp_path)
    assert [found.kind for found in found_in(tmp_path)] == ["cloud-foundry", "procfile", "uwsgi"]


def test_every_kind_has_a_sample() -> None:
    assert {case[1] for case in CASES} == set(READERS)


@pytest.mark.parametrize(("ending", "text"), [
    ("xml", "<uwsgi>\n <module>blog:app</module>\n <!-- <odd>1</odd> -->\n <processes>3</processes>\n</uwsgi>\n"),
    ("yaml", "uwsgi:\n  module: blog:app\n  processes: 3\n"),
    ("json", '{"uwsgi": {\n\t"module": "blog:app",\n\t"processes": 3}}\n'),
])  # fmt: skip
def test_uwsgi_is_read_in_each_of_its_formats(ending: str, text: str, tmp_path: Path) -> None:
    (tmp_path / f"shop.{ending}").write_text(text)
    document = app_of(imported(found_in(tmp_path), tmp_path / "manifests"))
    assert (document["entrypoint"], document["workers"]) == ("blog:app", 3)


# Hostile input


def test_aliases_that_expand_without_end_are_refused() -> None:
    levels = "\n".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 9))
    with pytest.raises(Unreadable, match="more than"):
        list(yaml_items("bomb.yml", f"l0: &l0 x\n{levels}\n"))


@pytest.mark.parametrize("text", ["[" * 100_000, "a: &a [*a]", "{" * 40, "a: [", "\t", "a: *b"])
def test_yaml_that_is_none_or_too_deep_is_refused(text: str) -> None:
    with pytest.raises(Unreadable):
        list(yaml_items("x.yml", text))


def test_a_file_that_is_too_large_or_leads_out_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "secret").write_text("web: gunicorn a:b")
    (tmp_path / "in" / "Procfile").symlink_to(tmp_path / "secret")
    (tmp_path / "in" / "manifest.yml").write_text("applications:\n" + "#" * 300_000)
    for name in ("Procfile", "manifest.yml"):
        with pytest.raises(Unreadable):
            Folder(tmp_path / "in").text(name)


@pytest.mark.parametrize("value", ["${A:-${B:-${C}}}", "$$", "${", "${A:?no}", "$(rm -rf /)", "%(a)", "\\"])
def test_an_interpolation_is_never_executed_and_never_fails(value: str, tmp_path: Path) -> None:
    text = f"services:\n  web:\n    build: .\n    command: gunicorn a:b\n    environment: ['A=x{value}']\n"
    (tmp_path / "compose.yml").write_text(text)
    (tmp_path / "app.py").write_text("")
    result = imported(found_in(tmp_path), tmp_path / "manifests")
    assert result.problems == []


def test_a_line_of_an_ini_file_that_is_no_setting_is_an_item() -> None:
    items = list(ini_items("x.ini", "[a]\nb = c\nnonsense\n[d]\n"))
    assert [(item.path, item.value) for item in items] == [(("a", "b"), "c"), (("a", ""), "nonsense")]


def test_crons_become_schedules_and_their_shells_stay(tmp_path: Path) -> None:
    dokku = (
        '{"cron": [{"command": "python a.py", "schedule": "0 4 * * *"},'
        ' {"command": "a > b && c", "schedule": "@weekly", "concurrency_policy": "replace"},'
        ' {"command": "d", "schedule": "0 25 * * *"}, {"command": "e"}]}'
    )
    result = read_files(tmp_path / "dokku", {"Procfile": "web: gunicorn shop:app\n", "app.json": dokku})
    assert app_of(result)["schedules"] == {
        "cron": {"command": "python a.py", "at": "0 4 * * *"},
        "cron-2": {"command": ["sh", "-c", "a > b && c"], "at": "@weekly", "overlap": "replace"},
    }
    assert '"0 25 * * *": bad hour' in result.manifests[0].text
    piku = {"Procfile": "wsgi: shop:app\ncron: */5 * * * * python a.py\ncron-b: often\n", "ENV": "A=b\n"}
    assert app_of(read_files(tmp_path / "piku", piku))["schedules"] == {
        "cron": {"command": "python a.py", "at": "*/5 * * * *"}
    }
    lines = (
        "module = shop:app",
        "cron = 59 2 -1 -1 -1 python a.py",
        "unique-cron = -5 -1 -1 -1 1 b",
        "cron2 = hour=5 c",
    )
    uwsgi = "\n".join(("[uwsgi]", *lines, ""))
    assert app_of(read_files(tmp_path / "uwsgi", {"uwsgi.ini": uwsgi}))["schedules"] == {
        "cron": {"command": "python a.py", "at": "59 2 * * *", "overlap": "allow"},
        "cron-2": {"command": "b", "at": "*/5 * * * 1"},
    }


def read_files(directory: Path, files: dict[str, str]) -> Imported:
    directory.mkdir()
    for name, text in files.items():
        (directory / name).write_text(text)
    (directory / "shop.py").write_text("def app(environ, start_response): ...\n")
    return imported(found_in(directory)[:1], directory / "manifests")


def properties(part: Any) -> Iterator[str]:
    """Yield the names of all properties in a schema, at any depth."""
    if isinstance(part, Mapping):
        yield from part.get("properties", {})
        for below in part.values():
            yield from properties(below)
    elif isinstance(part, list):
        for below in part:
            yield from properties(below)


@pytest.mark.parametrize("text", [text for name, text in vars(advice).items() if name.isupper()])
def test_advice_names_fields_that_manifests_have(text: str) -> None:
    named = {field.partition(":")[0] for field in re.findall(r"(?<!\w)'([^']+)'", text)}
    assert named <= set(properties(schema("app")))
