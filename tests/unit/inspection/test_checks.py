"""What `doctor` finds on a host, and what it advises."""

import json
import os
import resource
import socket
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from reconciler.cli.main import group
from reconciler.inspection.checks import disk, isolation, kernel, network, origins, reconciler, software, users
from reconciler.inspection.checks.check import Check
from reconciler.inspection.checks.host import checks
from reconciler.inspection.manifests import checked
from reconciler.manifests.persisted import remember_origins
from reconciler.settings.git import Repository
from reconciler.settings.git_statuses import Statuses
from reconciler.settings.settings import Api, ServiceServer, Settings
from reconciler.state.paths import StatePaths
from reconciler.state.records import Records, ServiceStatus
from reconciler.state.schema import open_database


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(manifests=tmp_path / "manifests", paths=StatePaths(state=tmp_path / "state"))


def by_subject(found: list[Check]) -> dict[str, Check]:
    return {check.subject: check for check in found}


def test_every_failure_and_warning_has_an_advice_and_nothing_is_made(settings: Settings, tmp_path: Path) -> None:
    found = list(checks(settings))
    assert [check for check in found if check.level != "ok" and not check.advice] == []
    assert by_subject(found)["manifests"].level == "fail"
    assert list(tmp_path.iterdir()) == []


def test_running_as_root_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    for uid, level in ((0, "warn"), (1000, "ok")):
        monkeypatch.setattr(os, "geteuid", lambda uid=uid: uid)
        (found,) = users.user()
        assert (found.level, "root" in found.found) == (level, uid == 0)


def test_what_other_users_may_write_or_read_that_decides_what_runs_is_a_warning(
    settings: Settings, tmp_path: Path
) -> None:
    token, manifest = tmp_path / "token", settings.manifests / "blog.yaml"
    settings.manifests.mkdir(mode=0o755)
    for path in (token, manifest):
        path.touch(mode=0o600)
    settings = replace(settings, api=Api(host="127.0.0.1", port=1, token=token))
    assert list(users.files(settings)) == []
    manifest.chmod(0o666)
    token.chmod(0o644)
    found = list(users.files(settings))
    assert [check.level for check in found] == ["warn", "warn"]
    assert str(manifest) in found[0].found
    assert str(token) in found[1].found


def test_a_settings_file_that_others_may_write_is_a_warning(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "host.yaml"
    file.touch(mode=0o644)
    settings = replace(settings, file=file)
    assert list(users.files(settings)) == []
    file.chmod(0o664)
    (found,) = users.files(settings)
    assert (found.level, found.subject) == ("warn", "permissions")
    assert found.found == f"other users may write {file}, and so decide what runs"


def test_a_secret_of_a_repository_that_others_may_read_is_told(settings: Settings, tmp_path: Path) -> None:
    names = ("key", "token", "webhook", "statuses")
    for name in names:
        (tmp_path / name).write_text("a long random word")
        (tmp_path / name).chmod(0o600)
    token = tmp_path / "statuses"
    statuses = Statuses(forge="gitea", api="https://g/api/v1", project="a/b", token=token, web="https://g/a/b")
    key, password, hook = (tmp_path / each for each in names[:3])
    fleet = Repository(name="fleet", urls=("/x",), statuses=statuses, key=key, token=password, webhook=hook)
    settings = replace(settings, repositories={"fleet": fleet})
    assert list(users.files(settings)) == []
    for name in names:
        (tmp_path / name).chmod(0o640)
    found = [each.found for each in users.files(settings)]
    assert found == [
        f"other users may read or write {tmp_path / each}, a secret of the repository fleet" for each in names
    ]


def test_more_apps_than_files_can_be_opened_for_are_a_failure() -> None:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert next(kernel.open_files(0)).level == "ok"
    assert next(kernel.open_files(soft)).level == "fail"


def test_a_state_directory_that_is_no_directory_is_a_failure(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    (check,) = disk.state_directory(file)
    assert check.level == "fail"


@pytest.mark.parametrize(("mode", "level"), [(0o700, "ok"), (0o755, "warn")])
def test_a_state_directory_that_others_may_read_is_warned_of(tmp_path: Path, mode: int, level: str) -> None:
    tmp_path.chmod(mode)
    assert next(disk.state_directory(tmp_path)).level == level


def test_the_file_system_of_proc_is_proc() -> None:
    assert disk.kind_of_file_system(Path("/proc/self")) == "proc"


def test_an_interpreter_of_the_settings_that_is_missing_is_named() -> None:
    assert next(software.interpreters(("/nowhere/python3",))).found == "missing: /nowhere/python3"


def test_a_range_that_is_leased_to_the_last_port_is_a_failure(settings: Settings, tmp_path: Path) -> None:
    few = replace(settings, first_port=20001, last_port=20001)
    settings.paths.state.mkdir()
    with closing(open_database(settings.paths.database)) as database:
        database.execute("INSERT INTO lease VALUES ('blog', 20001)")
    assert next(reconciler.ports(few, checked(few))).level == "fail"


def test_a_clock_that_is_behind_what_was_written_is_a_failure(tmp_path: Path) -> None:
    written = tmp_path / "database"
    written.touch()
    assert next(reconciler.clock(written)).level == "ok"
    os.utime(written, (4e9, 4e9))
    assert next(reconciler.clock(written)).level == "fail"


def test_the_clock_is_compared_with_the_program_itself(tmp_path: Path) -> None:
    assert Path(reconciler.__file__).is_file()
    assert next(reconciler.clock(tmp_path / "none")).level == "ok"


def listening(where: str | None = None) -> socket.socket:
    """A server on a port that the kernel chooses, or on a unix socket."""
    opened = socket.socket(socket.AF_UNIX if where else socket.AF_INET, socket.SOCK_STREAM)
    opened.bind(where or ("127.0.0.1", 0))
    opened.listen()
    return opened


def test_ports_of_our_own_manifests_are_not_called_taken(settings: Settings) -> None:
    settings.manifests.mkdir()
    with closing(listening()) as server:
        port = server.getsockname()[1]
        one = replace(settings, first_port=port, last_port=port)
        assert "1 used by other programs" in next(reconciler.ports(one, checked(one))).found
        (settings.manifests / "blog.yaml").write_text(f"path: ..\nport: {port}\n")
        assert "used by other programs" not in next(reconciler.ports(one, checked(one))).found


def with_server(settings: Settings, **fields: Any) -> Settings:
    server = ServiceServer(**{"name": "main", "type": "postgresql", **fields})
    return replace(settings, servers={"main": server})


def test_a_server_that_accepts_connections_is_well_and_one_that_does_not_is_named(settings: Settings) -> None:
    with closing(listening()) as server:
        port = server.getsockname()[1]
        (up,) = network.servers(with_server(settings, port=port))
    (down,) = network.servers(with_server(settings, port=port))
    assert (up.level, up.subject) == ("ok", "server main")
    assert (down.level, down.found) == ("warn", f"postgresql: cannot connect to 127.0.0.1:{port}: Connection refused")
    assert "services.servers.main" in down.advice


@pytest.mark.parametrize(
    ("of_type", "name", "port"), [("postgresql", ".s.PGSQL.5433", 5433), ("redis", "redis.sock", None)]
)
def test_a_server_behind_a_socket_is_reached(
    settings: Settings, tmp_path: Path, of_type: str, name: str, port: int | None
) -> None:
    host = str(tmp_path if of_type == "postgresql" else tmp_path / name)
    there = with_server(settings, type=of_type, host=host, port=port)
    (absent,) = network.servers(there)
    with closing(listening(str(tmp_path / name))):
        (present,) = network.servers(there)
    assert (absent.level, present.level) == ("warn", "ok")


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_broker_is_reached_at_its_url(settings: Settings, scheme: str) -> None:
    with closing(listening()) as server:
        url = f"{scheme}://127.0.0.1:{server.getsockname()[1]}/v2"
        (found,) = network.servers(with_server(settings, type="broker", options={"url": url}))
    assert found.level == "ok"


def test_a_password_that_cannot_be_read_is_named(settings: Settings, tmp_path: Path) -> None:
    (found,) = network.servers(with_server(settings, password_file=tmp_path / "none"))
    assert found.found == f"postgresql: cannot read {tmp_path}/none: No such file or directory"


def test_a_service_that_fails_is_named_with_its_reason(settings: Settings) -> None:
    assert list(network.services(settings)) == []
    settings.paths.state.mkdir()
    with closing(open_database(settings.paths.database)) as database:
        records = Records(database)
        records.set_service_status("db", ServiceStatus(state="failing", message="refused the connection", since=0.0))
        records.set_service_status("ok", ServiceStatus(state="ready", message="", since=0.0))
    (found,) = network.services(settings)
    assert (found.level, found.subject, found.found) == ("warn", "service db", "refused the connection")


def test_the_address_of_the_page_is_checked(settings: Settings, tmp_path: Path) -> None:
    assert list(network.page(settings)) == []
    with closing(listening()) as other:
        port = other.getsockname()[1]
        settings = replace(settings, api=Api(host="127.0.0.1", port=port, token=tmp_path / "token"))
        (no_token,) = network.page(settings)
        (tmp_path / "token").write_text("secret")
        (taken,) = network.page(settings)
    (free,) = network.page(settings)
    assert [each.level for each in (no_token, taken, free)] == ["warn", "warn", "ok"]
    assert f"cannot read {tmp_path}/token" in no_token.found
    assert "in use by another program" in taken.found


def test_settings_that_cannot_be_used_are_a_failure_beside_the_other_checks(tmp_path: Path) -> None:
    (tmp_path / "host.yaml").write_text("prots: {first: 1}\n")
    words = ["doctor", "--json", "--manifests", str(tmp_path), "--state", str(tmp_path / "s")]
    done = CliRunner().invoke(group, [*words, "--settings", str(tmp_path / "host.yaml")])
    found = {check["subject"]: check for check in json.loads(done.stdout)}
    error = json.loads(done.stderr)["error"]
    assert (done.exit_code, error["reason"], "prots: unknown field" in error["message"]) == (1, "failed", True)
    assert found["settings"]["level"] == "fail"
    assert "prots: unknown field" in found["settings"]["found"]
    assert found["kernel"]["level"] == "ok"


def test_what_manifests_name_and_is_not_there_is_a_warning(settings: Settings) -> None:
    settings.manifests.mkdir()
    (settings.manifests / "blog.yaml").write_text("path: ../nope\n")
    (found,) = reconciler.manifests(settings, checked(settings))
    assert (found.level, found.found) == ("warn", f"1 warning about {settings.manifests}")


def test_the_secrets_of_a_repository_are_readable_and_its_webhook_is_judged_by_the_last_call(
    settings: Settings, tmp_path: Path
) -> None:
    for name in ("hook", "token"):
        (tmp_path / name).write_text("a long random word")
    told = Statuses(forge="gitea", api="https://git/api", project="x", token=tmp_path / "token", web="https://git/x")
    fleet = Repository(name="fleet", urls=("/x",), signed="no", webhook=tmp_path / "hook", statuses=told)
    settings = replace(settings, repositories={"fleet": fleet})

    def found(*called: float | None) -> dict[str, str]:
        webhooks = [{"called_at": at, "missed": 0, "doubt": ""} for at in called]
        rows = [{"name": str(each["called_at"]), "repository": "fleet", "webhook": each} for each in webhooks]
        settings.paths.state.mkdir(mode=0o700, exist_ok=True)
        with closing(open_database(settings.paths.database)) as database:
            remember_origins(Records(database), rows)
        return {check.subject: check.found for check in origins.origins(settings)}

    known = {"webhook fleet": "the git server calls it", "statuses fleet": "its token can be read"}
    assert found(1.0) == known
    assert found(1.0, None) == known, "an app has taken its source from there since"
    assert found(None)["webhook fleet"] == "it was never called"
    (tmp_path / "token").unlink()
    assert found(1.0)["statuses fleet"] == f"cannot read {tmp_path / 'token'}: No such file or directory"


def test_what_holds_apps_to_their_lists_is_told_and_ports_alone_are_a_warning(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.manifests.mkdir()
    (tmp_path / "apps").mkdir()
    place = settings.manifests / "shop.yaml"
    place.write_text("path: ../apps\n")
    assert list(isolation.lists(settings, checked(settings))) == []
    place.write_text("path: ../apps\nisolation: strict\nnetwork: {connect: [443]}\n")
    for has, level in ((True, "ok"), (False, "warn")):
        monkeypatch.setattr("reconciler.host.network_kernel.filters", lambda *_, has=has: has)
        (found,) = isolation.lists(settings, checked(settings))
        assert (found.level, found.subject, bool(found.advice)) == (level, "network lists", not has)
    place.write_text("path: ../apps\nisolation: strict\n")
    for has, level in ((True, "ok"), (False, "warn")):
        monkeypatch.setattr("reconciler.inspection.checks.isolation.filters", lambda *_, has=has: has)
        (found,) = isolation.lists(settings, checked(settings))
        assert (found.level, found.subject, bool(found.advice)) == (level, "network", not has)
        assert "1 isolated app without a list from other apps' ports" in found.found


def test_whether_rules_hold_builds_is_told_where_an_app_is_isolated_strictly(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.manifests.mkdir()
    (tmp_path / "apps").mkdir()
    place = settings.manifests / "shop.yaml"
    for text in ("", "isolation: user\n"):
        place.write_text(f"path: ../apps\n{text}")
        assert list(isolation.builds(settings, checked(settings))) == []
    place.write_text("path: ../apps\nisolation: strict\n")
    for has, of_builds, level in ((True, True, "ok"), (True, False, "warn"), (False, False, "warn")):
        for name, value in (("filters", has), ("filters_builds", of_builds)):
            monkeypatch.setattr(f"reconciler.inspection.checks.isolation.{name}", lambda *_, value=value: value)
        (found,) = isolation.builds(settings, checked(settings))
        assert (found.level, found.subject, bool(found.advice)) == (level, "builds", not of_builds)
        assert "what builds 1 isolated app from this host" in found.found
        is_earlier = has and not of_builds
        assert found.found.endswith(": the warden is of an earlier version") == is_earlier
        assert (found.advice == "systemctl restart reconciler-warden reconciler") == is_earlier
