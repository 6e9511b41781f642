"""The host's settings file: read as manifests are, every mistake told with its place."""

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from jsonschema import Draft202012Validator

from reconciler.cli.main import group
from reconciler.documents.schemas import schema, validator
from reconciler.planning.desired import CrashPolicy
from reconciler.settings.file import parse
from reconciler.settings.settings import Settings
from reconciler.state.paths import StatePaths

ROOT = Path(__file__).resolve().parents[3]
AN_ABSOLUTE_PATH = "expected an absolute path, such as /opt/python3.12/bin"
SETTINGS_OF_THIS_HOST = "expected settings of this host, such as 'ports: {first: 8000, last: 8999}'"
DEFAULTS = Settings(manifests=Path("/m"), paths=StatePaths(state=Path("/s")))


def settings(text: str) -> Settings:
    found = parse("/etc/host.yaml", text.encode(), DEFAULTS)
    assert found.problems == ()
    return found.applied(DEFAULTS)


def problems(text: str) -> list[str]:
    return [str(problem) for problem in parse("/h.yaml", text.encode(), DEFAULTS).problems]


def test_every_setting_reaches_its_field() -> None:
    assert settings("""
ports: {first: 9000, last: 9499}
interpreters: [/opt/python/bin, /opt/pypy]
staging: {concurrency: 3, timeout: 30m}
starting: {concurrency: 5, slot: 7s, keep_warm: 1h}
retry: {first: 2s, cap: 10m}
crash: {first: 3s, cap: 8m, good_run: 5m}
prune_after: 10m
rescan: 2m
resync: 20m
settle: {quiet: 1s, longest: 9s}
logs: {limit: 64M, keep: 9}
""") == Settings(
        manifests=Path("/m"),
        paths=StatePaths(state=Path("/s")),
        first_port=9000,
        last_port=9499,
        interpreters=("/opt/python/bin", "/opt/pypy"),
        staging_slots=3,
        staging_timeout_s=1800,
        starting_slots=5,
        starting_slot_s=7,
        fork_server_idle_s=3600,
        retry_first_s=2,
        retry_cap_s=600,
        crash=CrashPolicy(first_s=3, cap_s=480, good_run_s=300),
        prune_after_s=600,
        rescan_s=120,
        resync_s=1200,
        quiet_s=1,
        longest_s=9,
        log_limit_bytes=64 * 2**20,
        logs_kept=9,
    )


@pytest.mark.parametrize("text", ["# nothing yet\n", "{}\n"])
def test_a_file_that_says_nothing_changes_nothing(text: str) -> None:
    assert settings(text) == DEFAULTS


def test_what_is_not_said_keeps_its_default() -> None:
    found = settings("crash: {cap: 5m}\n")
    assert found.crash == CrashPolicy(cap_s=300)
    assert found.first_port == DEFAULTS.first_port


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("prots: {first: 1}\n", "/h.yaml:1:1: prots: unknown field 'prots'; did you mean 'ports'?"),
        ("ports:\n  frist: 1\n", "/h.yaml:2:3: ports.frist: unknown field 'frist'; did you mean 'first'?"),
        ("ports: {first: 99999}\n", "/h.yaml:1:16: ports.first: expected a port, 1 to 65535, not 99999"),
        ("ports: {first: 9100}\n", "/h.yaml:1:16: ports.first: is more than 'last', which is 8999 by default"),
        ("ports: {first: 9100, last: 9000}\n", "/h.yaml:1:16: ports.first: is more than 'last'"),
        ("ports: {last: 90}\n", "/h.yaml:1:15: ports.last: is less than 'first', which is 8000 by default"),
        ("rescan: 0\n", "/h.yaml:1:9: rescan: must be longer than nothing"),
        ("rescan: soon\n", "/h.yaml:1:9: rescan: expected a duration such as 10s, 1m30s or 500ms, not 'soon'"),
        ("logs: {limit: 1K}\n", "/h.yaml:1:15: logs.limit: must be 4K at least"),
        ("interpreters: [o]\n", f"/h.yaml:1:16: interpreters[0]: {AN_ABSOLUTE_PATH}, not 'o'"),
        ("rescan: 1m\nrescan: 2m\n", "/h.yaml:2:1: rescan: duplicate field 'rescan', first given at line 1"),
        ("a: 1\n---\nb: 2\n", "/h.yaml:3:1: holds a second document; settings are one document"),
        ("- 1\n", f"/h.yaml:1:1: {SETTINGS_OF_THIS_HOST}, not a list"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_place(text: str, told: str) -> None:
    assert problems(text) == [told]


def test_every_mistake_is_told_at_once() -> None:
    assert len(problems("prots: 1\nrescan: soon\nlogs: {kep: 3}\n")) == 3


def test_the_schema_knows_exactly_what_settings_have() -> None:
    known = {
        f"{name}.{part}" if "properties" in about else name
        for name, about in schema("host")["properties"].items()
        for part in about.get("properties", [""])
    }
    # manifests and layout are options, and nobody sets the keeper's patience; the crash policy is one field with three
    # settings, the API's address one with four.
    assert len(known) == len(fields(Settings)) - 3 + 2 + 3


def test_the_schema_is_true_of_its_examples_and_defaults() -> None:
    Draft202012Validator.check_schema(schema("host"))
    for example in schema("host")["examples"]:
        validator("host").validate(example)

    def check(node: dict[str, Any]) -> None:
        for child in node.get("properties", {}).values():
            assert child["description"].endswith(".")
            whole = {**child, "$defs": schema("host")["$defs"]}
            for value in [*child["examples"], *([child["default"]] if "default" in child else [])]:
                type(validator("host"))(whole).validate(value)
            check(child)

    check(schema("host"))


def test_every_setting_is_documented() -> None:
    documented = (ROOT / "docs" / "reference" / "host-settings.md").read_text(encoding="utf-8")
    for name, about in schema("host")["properties"].items():
        for full in [f"{name}.{part}" for part in about.get("properties", ())] or [name]:
            assert f"| `{full}` |" in documented


def test_a_wrong_settings_file_ends_the_command_with_all_that_is_wrong(tmp_path: Path) -> None:
    file = tmp_path / "host.yaml"
    file.write_text("prots: 1\nlogs: {kep: 3}\n")
    done = CliRunner().invoke(group, ["runtimes", "--settings", str(file)])
    assert done.exit_code == 1
    assert f"{file}:1:1: prots: unknown field" in done.output
    assert f"{file}:2:8: logs.kep: unknown field" in done.output


def test_a_settings_file_that_is_named_must_be_there(tmp_path: Path) -> None:
    done = CliRunner().invoke(group, ["runtimes", "--json"], env={"RECONCILER_SETTINGS": str(tmp_path / "none.yaml")})
    assert done.exit_code == 1
    assert "cannot read the host's settings" in done.output


def test_the_port_range_of_the_settings_is_used(tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "wsgi.py").write_text("def application(e, s): ...\n")
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "app.yaml").write_text("path: ../app\n")
    (tmp_path / "host.yaml").write_text("ports: {first: 23456, last: 23459}\n")
    words = ["plan", "--json", "--manifests", str(tmp_path / "m"), "--state", str(tmp_path / "s")]
    done = CliRunner().invoke(group, [*words, "--settings", str(tmp_path / "host.yaml")])
    (app,) = json.loads(done.output)["apps"]
    assert "listen on 127.0.0.1:2345" in app["actions"][0]["what"]
