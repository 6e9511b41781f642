"""What an app was given is hidden in every message about it: whatever its name, and in whatever form it turns up."""

import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest

from reconciler.host.stores import Stores
from reconciler.inspection.redaction import Redactor
from reconciler.planning.apps.app import App
from reconciler.planning.apps.observed import Failure
from reconciler.planning.subject import Subject
from reconciler.services.records import ServiceRecords
from reconciler.staging.log import Log
from reconciler.state.database import Database
from reconciler.state.journal import Journal
from reconciler.state.records import Records
from reconciler.state.revision_history import RevisionHistory
from reconciler.state.schema import open_database
from reconciler.vault.command_lines import redacted_command
from reconciler.vault.env_files import EnvFiles
from reconciler.vault.given_values import given_secrets, is_harmless
from reconciler.vault.secret import HIDDEN
from reconciler.vault.secret_texts import SecretTexts
from reconciler.vault.vault import Vault
from tests.world import an_app

BLOG = Subject("app", "blog")


class Host:
    """The redactor and the journal of a daemon, for one app that may be changed."""

    def __init__(self, database: Database, key: Path) -> None:
        self.app: App = an_app()
        self.service_records = ServiceRecords(database, Vault(database, key))
        self.redactor = Redactor(
            self.service_records,
            EnvFiles(database, self.service_records.vault),
            desired=lambda: {self.app.name: self.app},
            environ=dict,
            revisions=lambda app: self.stores.history.of(app).revisions,
        )
        records = Records(database)
        self.stores = Stores(
            records=records,
            journal=Journal(database, redact=self.redactor.redacted),
            history=RevisionHistory(records, "boot"),
        )

    def start(self, **secret: str) -> None:
        """Give an instance variables from files."""
        stored = {name: self.service_records.vault.put(value) for name, value in secret.items()}
        self.redactor.give(replace(self.app.revision("c"), env_secrets=stored))

    def says(self, text: str) -> str:
        return self.redactor.redacted(Subject("app", self.app.name), text)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    with closing(open_database(tmp_path / "db")) as database:
        yield Host(database, tmp_path / "key")


@pytest.mark.parametrize(
    "secret",
    [
        "swordfish",
        "pa ss/wo?rd&=",
        "gr\u00fc\u00dfe und 'k\u00fcsse'",
        'with "quotes" and \\',
        "line number one\nand another",
    ],
)
def test_a_value_from_a_file_is_hidden_in_each_form(host: Host, secret: str) -> None:
    host.start(SHOPPING=secret)
    forms = [
        secret, quote(secret), quote(secret, safe=""), quote(secret, safe="").lower(), json.dumps(secret),
        json.dumps(secret, ensure_ascii=False), repr(secret), repr(secret.encode()), *secret.splitlines(),
    ]  # fmt: skip
    for form in forms:
        shown = host.says(f"it failed: {form}, and ended")
        assert HIDDEN in shown
        assert form.strip("'\"b") not in shown
        assert shown.startswith("it failed: ")
        assert shown.endswith(" and ended")


def test_a_value_with_a_file_of_its_own_is_hidden_whatever_its_name(host: Host) -> None:
    host.start(BACKEND="swordfish", LOG_LEVEL="info", PORT="54321")
    assert host.says("swordfish info 54321") == f"{HIDDEN} info {HIDDEN}"


def test_a_value_is_hidden_that_a_line_break_splits_or_the_end_cuts_off(host: Host) -> None:
    host.start(SHOPPING="correct-horse-battery")
    assert host.says("failed: correct-horse\n      -battery, try again") == f"failed: {HIDDEN}, try again"
    assert host.says("failed: correct-horse-b") == f"failed: {HIDDEN}"
    assert host.says("a correct horse\n  stays") == "a correct horse\n  stays"


def test_what_an_earlier_revision_was_given_stays_hidden(host: Host) -> None:
    host.start(SHOPPING="correct-horse-battery")
    host.app = an_app(env={"OTHER": "thing"})
    host.start(SHOPPING="swordfish")
    assert host.says("correct-horse-battery and swordfish") == f"{HIDDEN} and {HIDDEN}"


def test_a_message_that_was_shown_before_is_redacted_again_once_it_holds_what_an_app_was_given(host: Host) -> None:
    assert host.says("it is swordfish") == "it is swordfish"
    host.start(SHOPPING="swordfish")
    assert host.says("it is swordfish") == f"it is {HIDDEN}"


def test_what_is_gathered_once_is_not_gathered_for_each_message(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.start(SHOPPING="swordfish")
    assert host.says("one swordfish") == f"one {HIDDEN}"
    monkeypatch.setattr(SecretTexts, "__init__", lambda *_: pytest.fail("gathered again"))
    assert host.says("another swordfish") == f"another {HIDDEN}"


def test_the_reason_of_a_failure_is_stored_without_secrets_so_that_plans_may_quote_it(host: Host) -> None:
    host.start(SHOPPING="swordfish")
    failure = Failure(revision="1a2b", kind="rejected", count=1, reason="cannot open swordfish", last_at=0.0)
    host.stores.record_failure(host.app.name, failure)
    stored = RevisionHistory(host.stores.records, "boot").of(host.app.name).failures
    assert [failure.reason for failure in stored] == [f"cannot open {HIDDEN}"]


def test_the_staging_log_hides_what_only_the_host_knows(host: Host, tmp_path: Path) -> None:
    host.start(SHOPPING="swordfish")
    with Log(tmp_path / "log", redact=host.says) as log:
        log.step("connecting with swordfish")
        assert log.output("cannot open swordfish") == f"cannot open {HIDDEN}"
    assert "swordfish" not in (tmp_path / "log").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("values", "secrets"),
    [
        ({"SHOPPING": "swordfish"}, {"swordfish"}),
        ({"LOG_LEVEL": "chatty", "DEBUG": "true", "PORT": "54321", "GREETING": "production"}, set()),
        ({"URI": "postgres://me:pa/ss@w@db:5432/x"}, {"pa/ss", "pa/ss@w"}),
        ({"URI": "postgres://me:12/34@db:5432/x"}, {"12/34"}),
        ({"URI": "postgres://me:p%40ss@db/x"}, {"p%40ss", "p@ss"}),
        ({"ACCOUNT": '{"host": "mail.example.com", "shared": ["swordfish"]}'}, {"swordfish"}),
        ({"x host": "mail.example.com", "x user": "blog", "x code": "471100"}, {"471100"}),
    ],
)
def test_the_secrets_among_given_values(values: Mapping[str, str], secrets: set[str]) -> None:
    assert given_secrets(values) == secrets


def test_a_harmless_name_makes_no_url_with_a_password_harmless() -> None:
    assert is_harmless("HOST", "db.example.com")
    assert not is_harmless("HOST", "redis://:swordfish@db")
    assert not is_harmless("PIN", "471100")


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        ("python manage.py migrate --noinput", "python manage.py migrate --noinput"),
        ("python -m alembic upgrade head && gunicorn -w 4", "python -m alembic upgrade head && gunicorn -w 4"),
        ("createuser --password swordfish --email a@b.c", f"createuser --password {HIDDEN} --email a@b.c"),
        ("COOKIE=swordfish ./release.sh", f"COOKIE={HIDDEN} ./release.sh"),
        ("mysql -pswordfish shop", f"mysql -p{HIDDEN} shop"),
        ("curl -u me:swordfish https://h/", f"curl -u {HIDDEN} https://h/"),
        ("./manage.py set_password admin swordfish; ls", f"./manage.py set_password {HIDDEN} {HIDDEN}; ls"),
        ("login --api-key='sword fish'", f"login --api-key={HIDDEN}"),
        ("load hunter2x", f"load {HIDDEN}"),
    ],
)
def test_a_command_line_is_shown_without_its_passwords(command: str, shown: str) -> None:
    assert redacted_command(command) == shown
