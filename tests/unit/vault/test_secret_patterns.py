"""What one place hides, all hide: `env`, the page, staging logs, notifications, `plan --diff`, events and tools."""

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.host.revision_differences import changes
from reconciler.inspection.redaction import Redactor
from reconciler.planning.subject import HOST, Subject
from reconciler.services import server_tools
from reconciler.services.provisioner import ServiceError
from reconciler.services.records import ServiceRecords
from reconciler.staging.log import Log
from reconciler.state.database import Database
from reconciler.state.journal import Journal
from reconciler.state.schema import open_database
from reconciler.vault.env_files import EnvFiles
from reconciler.vault.secret import HIDDEN
from reconciler.vault.secret_patterns import LineRedactor, is_secret_name, masked, redacted, secrets_in
from reconciler.vault.vault import Vault
from reconciler.web import manifest_masking
from tests.world import an_app

Variables = Mapping[str, str]


def in_env(variables: Variables) -> str:
    return "\n".join(masked(variables).values())


def on_the_page(variables: Variables) -> str:
    return "\n".join(manifest_masking.masked(f"env: {json.dumps(dict(variables), ensure_ascii=False)}"))


def on_the_page_of_a_manifest_that_does_not_parse(variables: Variables) -> str:
    lines = "\n".join(f"  {name}: {json.dumps(value, ensure_ascii=False)}" for name, value in variables.items())
    return "\n".join(manifest_masking.masked(f"env:\n{lines}\nservices: [db"))


def in_a_diff(variables: Variables) -> str:
    before, after = an_app().revision("c"), an_app(env=variables).revision("c")
    return "\n".join(f"{change.before} {change.after}" for change in changes(before, after))


def in_a_staging_log(variables: Variables) -> str:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "staging.log"
        with Log(path, secrets_in(variables)) as log:
            for value in variables.values():
                log.step(f"installing from {value}")
                for line in f"cannot open {value}".splitlines():
                    log.output(line)
        return path.read_text(encoding="utf-8")


class Events:
    """The journal and the redactor of a daemon, one for all examples."""

    def __init__(self, database: Database, key: Path) -> None:
        self.app = an_app()
        service_records = ServiceRecords(database, Vault(database, key))
        self.redactor = Redactor(
            service_records,
            EnvFiles(database, service_records.vault),
            desired=lambda: {self.app.name: self.app},
            environ=dict,
        )
        self.journal = Journal(database, redact=self.redactor.redacted)

    def of(self, variables: Variables, subject: Subject) -> str:
        """What is stored, shown to followers, and sent to somebody outside."""
        self.app = an_app(env=variables)
        shown: list[str] = []
        self.journal.followers = [lambda event: shown.append(f"{event.text} {event.cause}")]
        for value in variables.values():
            self.journal.write(subject, "failed", f"exited: {value}", f"it failed: {value}")
        stored = [f"{event.text} {event.cause}" for event in self.journal.newest(None, len(variables))]
        sent = [self.redactor.redacted(subject, f"cannot use {value}") for value in variables.values()]
        return "\n".join((*shown, *stored, *sent))


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Events]:
    directory = tmp_path_factory.mktemp("state")
    with closing(open_database(directory / "db")) as database:
        yield Events(database, directory / "key")


BY_NAME: tuple[Callable[[Variables], str], ...] = (
    in_env,
    on_the_page,
    on_the_page_of_a_manifest_that_does_not_parse,
    in_a_diff,
    in_a_staging_log,
)


def line_by_line(variables: Variables) -> str:
    lines = LineRedactor()
    return "\n".join(lines.redacted(line) for value in variables.values() for line in value.splitlines())


# Values of variables are hidden there, but for those that are known to be harmless.
STRICT: tuple[Callable[[Variables], str], ...] = (
    on_the_page,
    on_the_page_of_a_manifest_that_does_not_parse,
    in_a_diff,
)


def wherever_other_values_are_shown(events: Events, variables: Variables) -> Iterator[str]:
    """How each place shows them that hides only what looks secret."""
    yield from (place(variables) for place in BY_NAME if place not in STRICT)
    yield line_by_line(variables)
    yield events.of(variables, Subject("app", events.app.name))
    yield events.of(variables, HOST)


def everywhere_by_name(events: Events, variables: Variables) -> Iterator[str]:
    """How each place shows these variables, or a text with their values."""
    yield from (place(variables) for place in BY_NAME)
    yield events.of(variables, Subject("app", events.app.name))


def everywhere_by_shape(events: Events, variables: Variables) -> Iterator[str]:
    """How each place shows them, those included that know of no app."""
    yield from everywhere_by_name(events, variables)
    yield line_by_line(variables)
    yield events.of(variables, HOST)


secret_texts = st.text("abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789", min_size=12, max_size=40)
passwords = st.builds(
    lambda text, odd: text[:6] + odd + text[6:], secret_texts, st.sampled_from(["", "/", "@", "%40", "'"])
)
innocent_words = st.sampled_from(["COMPASS", "MONKEY", "BYPASS", "TURKEY", "PASSENGER", "SECRETARY", "LOG", "BLOG"])
secret_words = st.sampled_from(
    ["KEY", "APIKEY", "DSN", "PASS", "TOKEN", "PASSWORD", "PASSWD", "PASSPHRASE", "CREDENTIAL", "PRIVATE", "SECRET"]
)
secret_names = st.one_of(
    st.builds("_".join, st.permutations(["STRIPE", "LIVE"]).flatmap(lambda w: secret_words.map(lambda s: [*w, s]))),
    st.builds(lambda word, secret: f"{word}_{secret}_1", innocent_words, secret_words),
    st.builds(lambda word, secret: f"{word.lower()}{secret.title()}", innocent_words, secret_words),
    secret_words,
    secret_words.map(str.lower),
)
innocent_names = st.lists(innocent_words, min_size=1, max_size=3).map("_".join)
schemes = st.sampled_from(["postgres", "mysql+pymysql", "redis", "amqps", "https", "git+https", "mongodb"])
urls = st.builds(lambda scheme, secret: f"{scheme}://me:{secret}@db.example.com:5432/x?a=b", schemes, passwords)
LINES = "\n".join(["MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7"] * 3)


def private_key(label: str, secret: str) -> str:
    return f"-----BEGIN {label}PRIVATE KEY-----\n{LINES}\n{secret}\n-----END {label}PRIVATE KEY-----"


@settings(max_examples=50, deadline=None)
@given(secret_names, secret_texts)
def test_a_secret_by_its_name_is_hidden_everywhere(events: Events, name: str, secret: str) -> None:
    for shown in everywhere_by_name(events, {"LOG_LEVEL": "info", name: secret}):
        assert secret not in shown
        assert HIDDEN in shown
        assert "info" in shown


@settings(max_examples=50, deadline=None)
@given(innocent_names, passwords, schemes)
def test_a_password_in_a_url_is_hidden_everywhere_and_the_host_shown(
    events: Events, name: str, secret: str, scheme: str
) -> None:
    variables = {name: f"{scheme}://me:{secret}@db.example.com:5432/x?a=b"}
    assert all(secret not in shown for shown in everywhere_by_shape(events, variables))
    for shown in wherever_other_values_are_shown(events, variables):
        assert "@db.example.com:5432/x?a=b" in shown


@settings(max_examples=30, deadline=None)
@given(innocent_names, secret_texts, st.sampled_from(["", "RSA ", "EC ", "OPENSSH ", "ENCRYPTED "]))
def test_a_private_key_is_hidden_everywhere(events: Events, name: str, secret: str, label: str) -> None:
    for shown in everywhere_by_shape(events, {name: private_key(label, secret), "LOG_LEVEL": "info"}):
        assert secret not in shown
        assert "MIIEvQIBADAN" not in shown
        assert "info" in shown


@settings(max_examples=30, deadline=None)
@given(
    innocent_names,
    secret_texts,
    st.sampled_from(["--password={} --verbose", "host=db password={} user=me", '{{"apiKey": "{}"}}', "x?token={}&y=1"]),
)
def test_what_is_assigned_to_a_secret_name_is_hidden_everywhere(
    events: Events, name: str, secret: str, text: str
) -> None:
    for shown in everywhere_by_shape(events, {name: text.format(secret)}):
        assert secret not in shown


@settings(max_examples=30, deadline=None)
@given(innocent_names, st.text("abcdefghijklmnopqrstuvwxyz ", min_size=1).map(str.strip).filter(bool))
def test_what_is_no_secret_is_shown_in_messages(events: Events, name: str, value: str) -> None:
    for shown in wherever_other_values_are_shown(events, {name: value}):
        assert value in shown


@pytest.mark.parametrize(
    ("name", "value"),
    [("LOG_LEVEL", "chatty"), ("GREETING", "production"), ("RETRIES", "30s"), ("DB_HOST", "db.example.com"),
     ("DJANGO_SETTINGS_MODULE", "shop.settings"), ("FLASK_APP", "shop:create_app()"), ("PORT", "8000")],
)  # fmt: skip
def test_what_is_harmless_is_shown_everywhere(events: Events, name: str, value: str) -> None:
    for shown in everywhere_by_shape(events, {name: value}):
        assert value in shown


@pytest.mark.parametrize(
    ("name", "value"),
    [("COOKIE", "swordfish"), ("JWT", "eyJh.eyJz.SflK"), ("PIN", "471100"), ("WEBHOOK", "https://hooks.example.com/T/B"),
     ("HOST", "postgres://me:hunter2@db"), ("GREETING", "hello there")],
)  # fmt: skip
def test_what_may_be_a_secret_is_hidden_on_the_page_and_in_plans(name: str, value: str) -> None:
    for place in STRICT:
        assert value not in place({name: value, "LOG_LEVEL": "info"})


@given(st.one_of(st.text(), urls, secret_texts.map(lambda s: private_key("", s))), st.lists(secret_texts, max_size=2))
def test_what_is_redacted_stays_as_it_is_when_it_is_redacted_again(text: str, secrets: list[str]) -> None:
    once = redacted(text, secrets)
    assert redacted(once, secrets) == once


@pytest.mark.parametrize(
    "name",
    ["STRIPE_KEY", "SENTRY_DSN", "SMTP_PASS", "GPG_PASSPHRASE", "PGPASSWORD", "MYSQL_PWD", "AWS_ACCESS_KEY_ID",
     "dbPassword", "APIKey", "x.private-key", "API_KEY2", "CREDENTIALS_JSON"],
)  # fmt: skip
def test_the_name_of_a_secret(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name", ["COMPASS", "MONKEY", "KEYCLOAK_URL", "TOKENIZERS_PARALLELISM", "PASSENGER_ENV", "PWD", "OLDPWD", "keyfile"]
)
def test_no_name_of_a_secret(name: str) -> None:
    assert not is_secret_name(name)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://token@host/x", f"https://{HIDDEN}@host/x"),
        ("https://token:x-oauth-basic@host/x", f"https://{HIDDEN}@host/x"),
        ("git+ssh://git@host/x", "git+ssh://git@host/x"),
        ("postgres://me@host/x", "postgres://me@host/x"),
        ("redis://:a@h1,redis://:b@h2", f"redis://:{HIDDEN}@h1,redis://:{HIDDEN}@h2"),
        ("http://host:8080/@scope/x", "http://host:8080/@scope/x"),
        ("https://registry.example.com/@scope/x", "https://registry.example.com/@scope/x"),
        ("Authorization: Bearer abc.def", f"Authorization: Bearer {HIDDEN}"),
        ("os.environ['API_KEY'] = 'a b'", f"os.environ['API_KEY'] = '{HIDDEN}'"),
        ('password="cut sho', f'password="{HIDDEN}'),
        ("sorted(names, key=len)", "sorted(names, key=len)"),
        ("KeyError: 'name'", "KeyError: 'name'"),
        ("the token: it is missing", "the token: it is missing"),
    ],
)
def test_a_text_is_shown_but_for_its_secrets(text: str, shown: str) -> None:
    assert redacted(text) == shown


@pytest.mark.parametrize("letters", ["y", "a.", "a-", "x=", "token=", "http://a:", "https://u:p@", '"a": "'])
def test_a_million_letters_take_no_longer_than_reading_them(letters: str) -> None:
    value, before = letters * (1_000_000 // len(letters)), time.process_time()
    secrets_in({"CERTIFICATE": value})
    redacted(value)
    assert time.process_time() - before < 20


def test_values_that_would_be_found_in_innocent_words_are_no_secrets_to_look_for() -> None:
    assert secrets_in({"API_KEY": "abc", "USE_TOKEN": "true", "DB_PASSWORD": "hunter2"}) == {"hunter2"}


def test_a_password_is_found_as_it_is_in_a_url_and_as_it_is_meant() -> None:
    assert secrets_in({"UV_INDEX": "x=https://u:p%40ssw@h/s"}) == {"p%40ssw", "p@ssw"}


def test_a_tool_that_fails_quotes_no_secret() -> None:
    program = "import sys; sys.exit('error: hunter2 is refused at redis://:swordfish@db')"
    tool = server_tools.Tool(argv=(sys.executable, "-c", program), package="python3", environment={})
    with pytest.raises(ServiceError) as failed:
        asyncio.run(server_tools.run(tool, hide=("hunter2",)))
    assert f"error: {HIDDEN} is refused at redis://:{HIDDEN}@db" in str(failed.value)
