"""The host's settings file: read as manifests are, every mistake told with its place."""

import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from jsonschema import Draft202012Validator

from reconciler.cli.main import group
from reconciler.documents.schemas import schema, validator
from reconciler.planning.apps.app import CrashPolicy
from reconciler.settings.file import parse, scalars
from reconciler.settings.settings import Drain, Settings
from reconciler.state.paths import StatePaths

ROOT = Path(__file__).resolve().parents[3]
AN_ABSOLUTE_PATH = "expected an absolute path, such as /opt/python3.12/bin"
A_TARGET_OF_LOGS = "expected syslog, journald, udp://HOST:PORT or file:/PATH"
AMONG_THE_LOGS = "is among the logs in /s/logs, whose lines are passed on: name a file elsewhere"
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
staging: {concurrency: 3, slot: 5m, timeout: 30m}
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
        staging_slot_s=300,
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


@pytest.mark.parametrize(
    ("text", "drain", "address"),
    [
        ("{to: syslog}", Drain(to="syslog"), None),
        ("{to: journald, which: [access]}", Drain(to="journald", streams=("access",)), None),
        ("{to: 'udp://[::1]:514'}", Drain(to="udp://[::1]:514"), ("::1", 514)),
        ("{to: 'udp://logs.example.com:514'}", Drain(to="udp://logs.example.com:514"), ("logs.example.com", 514)),
        ("{to: 'file:/var/log/my apps.log'}", Drain(to="file:/var/log/my apps.log"), None),
    ],
)
def test_a_log_drain_has_a_target_and_streams(text: str, drain: Drain, address: tuple[str, int] | None) -> None:
    assert settings(f"logs: {text}").drain == drain
    assert address is None or drain.address == address


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
        ("", "/h.yaml:1:1: is empty"),
        ("prots: {first: 1}\n", "/h.yaml:1:1: prots: unknown field 'prots'; did you mean 'ports'?"),
        ("ports:\n  frist: 1\n", "/h.yaml:2:3: ports.frist: unknown field 'frist'; did you mean 'first'?"),
        ("ports: {first: 99999}\n", "/h.yaml:1:16: ports.first: expected a port, 1 to 65535, not 99999"),
        ("ports: {first: 9100}\n", "/h.yaml:1:16: ports.first: is more than 'last', which is 8999 by default"),
        ("ports: {first: 9100, last: 9000}\n", "/h.yaml:1:16: ports.first: is more than 'last'"),
        ("ports: {last: 90}\n", "/h.yaml:1:15: ports.last: is less than 'first', which is 8000 by default"),
        ("rescan: 0\n", "/h.yaml:1:9: rescan: must be greater than zero"),
        ("rescan: soon\n", "/h.yaml:1:9: rescan: expected a duration such as 10s, 1m30s or 500ms, not 'soon'"),
        ("logs: {limit: 1K}\n", "/h.yaml:1:15: logs.limit: must be at least 4K"),
        ("logs: {which: [app]}\n", "/h.yaml:1:15: logs.which: requires 'to': where the lines are passed on to"),
        ("logs: {to: 'udp://log:0'}\n", "/h.yaml:1:12: logs.to: has no port from 1 to 65535"),
        ("logs: {to: 'tcp://log:514'}\n", f"/h.yaml:1:12: logs.to: {A_TARGET_OF_LOGS}, not 'tcp://log:514'"),
        ("logs: {to: 'file:apps.log'}\n", f"/h.yaml:1:12: logs.to: {A_TARGET_OF_LOGS}, not 'file:apps.log'"),
        ("logs: {to: 'file:/s/x/../logs/a/app.log'}\n", f"/h.yaml:1:12: logs.to: {AMONG_THE_LOGS}"),
        ("interpreters: [o]\n", f"/h.yaml:1:16: interpreters[0]: {AN_ABSOLUTE_PATH}, not 'o'"),
        ("rescan: 1m\nrescan: 2m\n", "/h.yaml:2:1: rescan: duplicate field 'rescan', first given at line 1"),
        ("a: 1\n---\nb: 2\n", "/h.yaml:3:1: is a second document; settings are one document"),
        ("- 1\n", f"/h.yaml:1:1: {SETTINGS_OF_THIS_HOST}, not a list"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_place(text: str, told: str) -> None:
    assert problems(text) == [told]


def test_every_mistake_is_told_at_once() -> None:
    assert len(problems("prots: 1\nrescan: soon\nlogs: {kep: 3}\n")) == 3


def _declared(node: Any, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """Every setting of the schema by its path; servers, variables and targets have names of their own."""
    found: dict[tuple[str, ...], Any] = {}
    for name, about in node["properties"].items():
        inner = _declared(about, (*path, name)) if "properties" in about and about.get("required") != ["file"] else {}
        found |= inner or {(*path, name): about}
    return found


def test_the_schema_has_exactly_the_settings_of_the_table() -> None:
    structures = {
        ("interpreters",),
        ("staging", "env"),
        ("notifications",),
        ("services", "servers"),
        ("services", "key"),
        ("logs", "to"),
        ("logs", "which"),
        ("git", "repositories"),
        ("git", "host"),
        ("git", "identities"),
        ("git", "recipients"),
        ("git", "open"),
        ("origins",),
        ("clusters",),
        ("isolation", "require"),
        ("isolation", "mounts"),
    }
    proxy = {
        ("proxy", *part.split("."))
        for part in (
            "type", "run", "program", "admin", "email", "address", "http", "https", "http3", "ca", "ca_root",
            "trusted", "domain", "settle", "sockets", "names", "format", "file", "check", "reload", "static",
        )
    }  # fmt: skip
    api = {("api", part) for part in ("address", "token", "writable", "url")}
    assert _declared(schema("host")).keys() == {*scalars(), *structures, *proxy, *api}


def test_every_field_of_settings_is_declared_for_the_file_or_known_not_to_be_in_it() -> None:
    declared = {name for path, (name, _) in scalars().items() if path[0] != "crash"}
    others = {"interpreters", "staging_env", "notifications", "api", "servers", "key_file", "crash", "drain"}
    others |= {"origins", "identities", "recipients", "open_command", "clusters"}
    others |= {"origins", "repositories", "git_host", "proxy", "isolation_required", "isolation_mounts"}
    elsewhere = {"manifests", "paths", "file", "short_origin", "keeper_patience_s"}
    assert {each.name for each in fields(Settings)} == (
        declared - {"first_s", "cap_s", "good_run_s"}
    ) | others | elsewhere


def test_the_schema_has_the_defaults_of_the_table() -> None:
    for path, (_, setting) in scalars().items():
        about = _declared(schema("host"))[path]
        if setting.default is None:
            assert "default" not in about, path
            assert "Default: " in about["description"], path
        else:
            assert setting.read(str(about["default"])) == setting.read(setting.default), path


def test_the_reference_has_the_defaults_of_the_table() -> None:
    page = (ROOT / "docs" / "reference" / "host-settings.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `([a-z0-9_.]+)` \| .+ \| (.+?) \| .+? \|$", page, re.MULTILINE))
    assert rows.keys() == {".".join(path) for path in _declared(schema("host"))}
    for path, (_, setting) in scalars().items():
        written = rows[".".join(path)]
        if setting.default is None:
            assert "`" not in written, path
        else:
            assert setting.read(written.strip("`")) == setting.read(setting.default), path


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
    (tmp_path / "host.yaml").write_text("ports: {first: 23000, last: 23999}\n")  # others may listen at some
    words = ["plan", "--json", "--manifests", str(tmp_path / "m"), "--state", str(tmp_path / "s")]
    done = CliRunner().invoke(group, [*words, "--settings", str(tmp_path / "host.yaml")])
    (app,) = json.loads(done.output)["apps"]
    assert "listen on 127.0.0.1:23" in app["actions"][0]["what"]


def test_tasks_and_schedules_have_limits_of_the_host() -> None:
    found = settings("schedules: {zone: Europe/Berlin}\ntasks: {concurrency: 3, nice: 0, keep: 1d, timeout: 2h}\n")
    assert (found.schedules_zone, found.tasks_at_once, found.tasks_nice) == ("Europe/Berlin", 3, 0)
    assert (found.tasks_kept_s, found.task_timeout_s) == (86400.0, 7200.0)
    (problem,) = problems("schedules: {zone: Berlin}\n")
    assert problem == '/h.yaml:1:19: schedules.zone: there is no time zone "Berlin"; Europe/Berlin?'


def test_an_entry_of_a_cluster_takes_a_caddy_of_this_host_and_an_ingress_where_it_is_that() -> None:
    def written(cluster: str, proxy: str = "proxy: {run: true}\n") -> str:
        return f"{proxy}clusters: {{prod: {{kubeconfig: k, namespace: web, registry: r, {cluster}}}}}\n"

    found = settings(written("entry: 'https://10.0.0.5/', entry_ca: {file: ca.pem}")).clusters["prod"]
    assert (found.entry, found.entry_ca) == ("https://10.0.0.5", Path("/etc/ca.pem"))
    assert settings(written("entry: ingress, route: {ingress_class: nginx}")).clusters["prod"].entry == "ingress"
    files = "proxy: {type: files, format: nginx, file: /n.conf, reload: [true]}\n"
    for wrong, proxy, what in (
        ("entry: ingress", "proxy: {run: true}\n", "'ingress' takes 'route.ingress_class'"),
        ("entry: service", "", "takes a 'proxy' of this host that is a Caddy"),
        ("entry: service", files, "takes a 'proxy' of this host that is a Caddy"),
        ("entry: 10.0.0.5", "proxy: {run: true}\n", "expected an address such as https://10.0.0.5"),
        ("entry: 'http://10.0.0.5/shop'", "proxy: {run: true}\n", "expected an address such as https://10.0.0.5"),
    ):
        assert any(what in problem for problem in problems(written(wrong, proxy))), wrong


def test_a_proxy_is_read_with_its_paths_absolute_and_its_mistakes_have_their_place() -> None:
    proxy = settings(
        "proxy: {run: true, email: a@b.c, https: 8443, ca_root: {file: ca.pem}, trusted: [10.0.0.1/8]}\n"
    ).proxy
    assert proxy is not None
    assert (proxy.driver, proxy.front.https, proxy.front.ca_root, proxy.front.trusted) == (
        "kept", 8443, "/etc/ca.pem", ("10.0.0.0/8",),
    )  # fmt: skip
    assert proxy.front.http3
    without = settings("proxy: {run: true, http3: false}\n").proxy
    assert without is not None
    assert not without.front.http3
    files = "proxy: {type: files, format: nginx, file: /etc/nginx/x.conf, reload: [nginx, -s, reload]}\n"
    found = settings(files).proxy
    assert found is not None
    assert (found.driver, found.file and found.file.reload) == ("nginx", ("nginx", "-s", "reload"))
    assert problems("proxy: {type: files, format: nginx, run: true}\n") == [
        "/h.yaml:1:15: proxy.type: requires 'file'",
        "/h.yaml:1:15: proxy.type: requires 'reload'",
        "/h.yaml:1:42: proxy.run: is for 'type: caddy'",
    ]
    assert problems("proxy: {run: true, static: /srv/x}\n")[0].startswith(
        "/h.yaml:1:28: proxy.static: is for a proxy of"
    )
    assert not problems("proxy: {type: files, format: traefik, file: /etc/traefik/dynamic/reconciler.yaml}\n")
    haproxy = "type: files, format: haproxy, file: /x, reload: [x]"
    assert problems(f"proxy: {{{haproxy}, static: /srv/x}}\n")[0].endswith("this proxy serves no files")
    assert problems("proxy: {http: 443}\n") == ["/h.yaml:1:15: proxy.http: is the other port as well"]
    assert problems("proxy: {admin: 'localhost:2019'}\n")[0].startswith(
        "/h.yaml:1:16: proxy.admin: expected the path of a unix"
    )
