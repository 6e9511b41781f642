"""Which files of a source hold secrets, and what of a line is one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.vault.secret_files import holds_secrets, without_secrets

KEY = b"-----BEGIN OPENSSH PRIVATE KEY-----\nabc\n-----END OPENSSH PRIVATE KEY-----\n"


@pytest.mark.parametrize(
    "path",
    [
        ".env", "web/.env.production", "prod.env", "tls/server.key", "ca.pem", "id_ed25519", ".netrc", ".pgpass",
        "secrets.yml", "config/secrets/api", "conf/db-password.txt", "credentials.json", "API_TOKENS.ini", "auth.p12",
    ],
)  # fmt: skip
def test_a_name_says_that_a_file_holds_secrets(path: str) -> None:
    assert holds_secrets(path)


@pytest.mark.parametrize(
    "path",
    [
        "app.py", "tokens.py", "templates/password_reset.html", "secrets/views.py", "requirements.txt", "README",
        ".env.example", "config/secrets.sample.yml", "pyproject.toml", "static/passport.csv", "Makefile",
        "keyboard.json", "tokenizer.json",
    ],
)  # fmt: skip
def test_code_samples_and_data_of_other_names_are_shown(path: str) -> None:
    assert not holds_secrets(path, b"plain", b"text")


def test_a_file_with_a_private_key_in_it_holds_secrets_before_or_after() -> None:
    assert holds_secrets("notes.txt", KEY, b"")
    assert holds_secrets("settings.py", b"", b"KEY = '''" + KEY + b"'''")
    assert not holds_secrets("notes.txt", b"-----BEGIN CERTIFICATE-----", b"")


@pytest.mark.parametrize(
    ("path", "line", "shown"),
    [
        ("a.py", '+PASSWORD = "hunter2"', '+PASSWORD = "•••"'),
        ("a.py", "-    SECRET_KEY: str = f'abc{x}'  # why", "-    SECRET_KEY: str = f'•••'  # why"),
        ("a.py", ' os.environ["API_KEY"] = "abc"', ' os.environ["API_KEY"] = "•••"'),
        ("a.py", ' connect(user="bob", password="a\\"b")', ' connect(user="bob", password="•••")'),
        ("a.json", '+  {"password": "x", "user": "bob"}', '+  {"password": "•••", "user": "bob"}'),
        ("a.rb", " :password => 'x'", " :password => '•••'"),
        ("a.yml", "+  password: hunter2 # old", "+  password: •••"),
        ("a.ini", "-token = abc def", "-token = •••"),
        ("a.sh", ' export TOKEN="abc"', ' export TOKEN="•••"'),
    ],
)
def test_what_is_assigned_to_the_name_of_a_secret_is_hidden(path: str, line: str, shown: str) -> None:
    assert without_secrets(path, line) == shown


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("a.py", "+def login(password: str) -> bool:"), ("a.py", "+token = request.headers.get(name)"),
        ("a.py", '+SECRET_KEY = ""'), ("a.py", '+TITLE = "hello"'), ("a.yml", "+  user: bob"),
        ("a.html", '+<input type="password" id="new">'), ("password.py", "+++ b/password.py"),
    ],
)  # fmt: skip
def test_everything_else_is_shown(path: str, line: str) -> None:
    assert without_secrets(path, line) == line


@given(st.text(alphabet="=:\"' aPASSWORD_.-\\[]", max_size=60))
def test_a_line_is_redacted_once(line: str) -> None:
    once = without_secrets("a.yml", line)
    assert without_secrets("a.yml", once) == once
