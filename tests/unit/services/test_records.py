"""The vault, the ledger and what apps see: ids for secrets, keys that can be changed, libraries that read it all."""

import json
import os
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import cfenv  # type: ignore[import-untyped]
import dj_database_url
import pytest
from pyservicebinding import binding  # type: ignore[import-untyped]

from reconciler.planning.apps.revision import Bound
from reconciler.planning.services.service import Service
from reconciler.services.binding_views import OpenBinding, lay_out, shown
from reconciler.services.records import BOXES, ServiceRecords
from reconciler.state.database import Database
from reconciler.state.schema import open_database
from reconciler.vault.dotenv import Unusable, pairs_of
from reconciler.vault.secret import Secret
from reconciler.vault.secret_reader import SecretReader
from reconciler.vault.vault import Vault, VaultLocked

SAID = "correct horse battery staple"


@pytest.fixture
def database(tmp_path: Path) -> Any:
    with closing(open_database(tmp_path / "db")) as database:
        yield database


@pytest.fixture
def service_records(database: Database, tmp_path: Path) -> ServiceRecords:
    return ServiceRecords(database, Vault(database, tmp_path / "key"))


def again(service_records: ServiceRecords, database: Database, tmp_path: Path) -> ServiceRecords:
    return ServiceRecords(database, Vault(database, tmp_path / "key"))


def test_a_secret_is_known_by_an_id_that_says_nothing(
    service_records: ServiceRecords, database: Database, tmp_path: Path
) -> None:
    kept = service_records.vault.put(SAID)
    assert service_records.vault.put(SAID) == kept
    assert service_records.vault.put("other") != kept
    assert service_records.vault.get(kept) == SAID
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    assert not [line for line in database.iterdump() if SAID in line]
    assert again(service_records, database, tmp_path).vault.put(SAID) == kept


def test_another_vault_gives_the_same_secret_another_id(service_records: ServiceRecords, tmp_path: Path) -> None:
    with closing(open_database(tmp_path / "other.db")) as other:
        vault = Vault(other, tmp_path / "other")
        assert ServiceRecords(other, vault).vault.put(SAID) != service_records.vault.put(SAID)


def test_a_missing_key_is_never_replaced(service_records: ServiceRecords, database: Database, tmp_path: Path) -> None:
    kept = service_records.vault.put(SAID)
    (tmp_path / "key").unlink()
    without = again(service_records, database, tmp_path)
    with pytest.raises(VaultLocked, match="is missing, and the stored credentials cannot be decrypted"):
        without.vault.get(kept)
    with pytest.raises(VaultLocked, match="is missing"):
        without.vault.put("new")
    assert not (tmp_path / "key").exists()


@pytest.mark.parametrize("content", ["", "nonsense", "\xff"])
def test_a_key_that_is_none_is_told(
    service_records: ServiceRecords, database: Database, tmp_path: Path, content: str
) -> None:
    kept = service_records.vault.put(SAID)
    (tmp_path / "key").write_bytes(content.encode("latin-1"))
    with pytest.raises(VaultLocked, match="key"):
        again(service_records, database, tmp_path).vault.get(kept)


def test_a_key_that_others_may_read_is_refused(
    service_records: ServiceRecords, database: Database, tmp_path: Path
) -> None:
    kept = service_records.vault.put(SAID)
    (tmp_path / "key").chmod(0o644)
    with pytest.raises(VaultLocked, match="chmod 600"):
        again(service_records, database, tmp_path).vault.get(kept)


def test_a_new_key_opens_everything_and_the_old_one_nothing(
    service_records: ServiceRecords, database: Database, tmp_path: Path
) -> None:
    kept = service_records.vault.put(SAID)
    record = service_records.register(
        Service(name="db", manifest="", type="sqlite", asked={"credentials": {"a": "b"}}), None, None, 1.0
    )
    grant = service_records.create_grant(record.id, "blog", {"role": "reader"})
    password = service_records.password(grant.id)
    old = (tmp_path / "key").read_text()
    assert service_records.vault.rekey(BOXES) == 5
    for each in (service_records, again(service_records, database, tmp_path)):
        assert each.vault.get(kept) == SAID
        assert each.vault.put(SAID) == kept
        assert each.password(grant.id) == password
        assert each.asked(record.id) == {"credentials": {"a": "b"}}
        assert each.parameters(grant.id) == {"role": "reader"}
    (tmp_path / "key").write_text(old)
    with pytest.raises(VaultLocked, match="cannot decrypt"):
        again(service_records, database, tmp_path).vault.get(kept)


def test_a_rekeying_that_was_killed_half_way_leaves_every_key_that_is_needed(
    service_records: ServiceRecords, database: Database, tmp_path: Path
) -> None:
    kept = service_records.vault.put(SAID)

    def denied(action: int, *_: Any) -> int:
        return sqlite3.SQLITE_DENY if action == sqlite3.SQLITE_UPDATE else sqlite3.SQLITE_OK

    database.set_authorizer(denied)
    with pytest.raises(sqlite3.DatabaseError):
        service_records.vault.rekey(BOXES)
    database.set_authorizer(None)
    assert len((tmp_path / "key").read_text().split()) == 2
    assert again(service_records, database, tmp_path).vault.get(kept) == SAID
    assert again(service_records, database, tmp_path).vault.rekey(BOXES) == 2
    assert len((tmp_path / "key").read_text().split()) == 1


def test_secrets_that_nothing_names_are_forgotten(
    service_records: ServiceRecords, database: Database, tmp_path: Path
) -> None:
    kept, gone = service_records.vault.put("kept"), service_records.vault.put("gone")
    service_records.vault.keep_only({kept})
    with pytest.raises(VaultLocked, match="is missing from the state database"):
        service_records.vault.get(gone)
    assert again(service_records, database, tmp_path).vault.put("kept") == kept


def test_what_is_on_record_outlives_the_process(
    service_records: ServiceRecords, database: Database, tmp_path: Path
) -> None:
    record = service_records.register(Service(name="db", manifest="", type="sqlite"), None, None, 1.0)
    first, second = (service_records.create_grant(record.id, "blog", {}) for _ in range(2))
    service_records.bound(first.id, {"uri": SAID})
    service_records.retire(first.id, "asked for")
    service_records.use("blog", "r1", frozenset({first.id}))
    later = again(service_records, database, tmp_path)
    assert [(g.id, g.retiring) for g in later.of("db")[0].grants] == [(first.id, "asked for"), (second.id, None)]
    assert later.uses("blog") == {"r1": frozenset({first.id})}
    kept = later.grant(first.id).credentials
    assert kept is not None
    assert later.credentials(kept) == {"uri": SAID}
    later.unused("blog", frozenset())
    assert again(service_records, database, tmp_path).uses("blog") == {}


def test_user_names_fit_every_server(service_records: ServiceRecords) -> None:
    record = service_records.register(Service(name="db", manifest="", type="sqlite"), None, None, 1.0)
    for app in ("blog", "a" * 63, "0-shop-with-a-name"):
        user = service_records.create_grant(record.id, app, {}).user
        assert len(user) <= 32
        assert user.replace("_", "").isalnum()


def test_without_services_nothing_of_cryptography_is_imported() -> None:
    code = "import sys, reconciler.daemon.daemon; print(any(m.startswith('cryptography') for m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("form", ["{}", "{!r}", "{!s}", "{:>30}"])
def test_no_print_shows_a_secret(form: str) -> None:
    assert SAID not in form.format(Secret(SAID))


# What apps see


def opened(service: str, of_type: str, credentials: dict[str, Any], **different: Any) -> OpenBinding:
    fields = {
        "service": service, "type": of_type, "label": of_type, "plan": "free", "instance": "i1", "grant": "g1",
        "credentials": "c1", **different,
    }  # fmt: skip
    return OpenBinding(bound=Bound(**fields), credentials=credentials)


URI = "mysql://u:p%40ss@db.example.com:3307/blog"
MYSQL = opened(
    "blog-db",
    "mysql",
    {"name": "blog", "hostname": "db.example.com", "host": "db.example.com", "port": 3307, "user": "u", "uri": URI},
    label="mysql-5.1",
    tags=("relational",),
)
CACHE = opened("cache", "redis", {"uri": "redis://x", "port": 6379}, name="sessions")


def test_code_written_for_appfog_reads_it_unchanged() -> None:
    services = json.loads(shown([CACHE, MYSQL]).whole)
    credentials = services["mysql-5.1"][0]["credentials"]
    assert (credentials["hostname"], credentials["port"], credentials["name"]) == ("db.example.com", 3307, "blog")
    assert {"name", "label", "plan", "tags", "credentials"} <= services["mysql-5.1"][0].keys()


def test_services_that_give_more_credentials_together_than_an_app_may_have_are_told() -> None:
    many = replace(MYSQL, credentials={f"key-{number}": "x" for number in range(2001)})
    assert shown([CACHE, MYSQL]).why_unfit() == ""
    assert shown([CACHE, many]).why_unfit().endswith(" credentials, and 2000 are the most")


def test_several_services_of_one_label_stand_in_their_order() -> None:
    one, two = (opened(name, "sqlite", {}, label="db") for name in ("b", "a"))
    assert [entry["name"] for entry in json.loads(shown([one, two]).whole)["db"]] == ["b", "a"]


def test_cfenv_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VCAP_SERVICES", shown([CACHE, MYSQL]).whole)
    monkeypatch.setenv("VCAP_APPLICATION", "{}")
    env = cfenv.AppEnv()
    assert env.get_service(label="mysql-5.1").credentials["uri"] == URI
    assert env.get_service(label="mysql-5.1").get_url(host="hostname", port="port") == "//db.example.com:3307"
    assert env.get_service(name="sessions").credentials["port"] == 6379
    assert env.get_service(tags=["relational"]).name == "blog-db"


def test_the_first_database_is_the_one_that_dj_database_url_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", shown([CACHE, MYSQL]).database_url or "")
    found = dj_database_url.config()
    assert (found["HOST"], found["PORT"], found["NAME"], found["PASSWORD"]) == (
        "db.example.com", 3307, "blog", "p@ss",
    )  # fmt: skip
    assert shown([CACHE]).database_url is None


@pytest.mark.filterwarnings("ignore:Exception ignored in")  # the library leaves closing its files to others
def test_the_servicebinding_library_reads_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lay_out(shown([CACHE, MYSQL]), tmp_path / "r1")
    monkeypatch.setenv("SERVICE_BINDING_ROOT", str(tmp_path / "r1" / "bindings"))
    found = binding.ServiceBinding()
    (mysql,) = found.bindings("mysql")
    assert (mysql["uri"], mysql["port"], mysql["provider"]) == (URI, "3307", "reconciler")
    assert {stat.S_IMODE(p.stat().st_mode) for p in (tmp_path / "r1").rglob("*") if p.is_file()} == {0o400}
    assert stat.S_IMODE((tmp_path / "r1").stat().st_mode) == 0o700
    lay_out(shown([CACHE, MYSQL]), tmp_path / "r1")


def test_files_half_written_when_killed_are_written_anew(tmp_path: Path) -> None:
    lay_out(shown([MYSQL]), tmp_path)
    (tmp_path / "vcap_services.json").unlink()
    (tmp_path / "bindings" / "blog-db" / "uri").unlink()
    lay_out(shown([MYSQL]), tmp_path)
    assert (tmp_path / "bindings" / "blog-db" / "uri").read_text() == URI


@pytest.mark.parametrize(("length", "fits"), [(100, True), (131_072, False)])
def test_past_what_the_kernel_takes_it_does_not_fit(length: int, fits: bool) -> None:
    told = shown([opened("big", "user-provided", {"x": "y" * length})])
    assert told.fits == fits
    if fits:
        subprocess.run(["true"], env={"VCAP_SERVICES": told.whole}, check=True)
    else:
        with pytest.raises(OSError, match="Argument list too long"):
            subprocess.run(["true"], env={"VCAP_SERVICES": told.whole}, check=False)


# Files of secrets


def test_lines_of_variables(tmp_path: Path) -> None:
    text = "# no\n\nA=1\nexport B = two words \nC='q#x'\nD=\"$HOME\"\nA=2\n"
    assert pairs_of(tmp_path, text) == {"A": "2", "B": "two words", "C": "q#x", "D": "$HOME"}


def test_a_line_that_is_none_is_told_by_its_number_alone(tmp_path: Path) -> None:
    with pytest.raises(Unusable) as told:
        pairs_of(tmp_path / "f", f"A=1\n{SAID}\n")
    assert str(told.value) == f"{tmp_path / 'f'}:2: expected NAME=VALUE"


def test_only_the_last_line_break_is_none_of_the_value(tmp_path: Path) -> None:
    (tmp_path / "f").write_text(" a \n\n")
    assert SecretReader().value_of(tmp_path / "f") == " a \n"


@pytest.mark.parametrize("content", [b"\xff", b"a\0b", b"x" * 1_100_000])
def test_what_is_no_text_of_a_sensible_size_is_unusable(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "f").write_bytes(content)
    with pytest.raises(Unusable):
        SecretReader().text_of(tmp_path / "f")


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "f")
    with pytest.raises(Unusable, match="it is a named pipe, not a file"):
        SecretReader().text_of(tmp_path / "f")
