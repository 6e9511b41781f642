"""Files that a routing names: one that cannot be used keeps its app from being published, and says why."""

from pathlib import Path

import pytest

from reconciler.planning.routing.observed import AppFiles
from reconciler.planning.routing.routing import Certificate, Routing
from reconciler.routing.app_files import read_app_files
from tests.support.certificates import write_certificate

HASH = "$2b$12$" + "a" * 53


def read(**options: object) -> AppFiles:
    found = read_app_files("shop", Routing(domains=("a.example.com",), **options))  # type: ignore[arg-type]
    assert found is not None
    return found


def test_an_app_without_files_needs_none() -> None:
    assert read_app_files("shop", Routing(domains=("a.example.com",))) is None


def test_users_are_read_with_their_hashes(tmp_path: Path) -> None:
    users = tmp_path / "users"
    users.write_text(f"# staff\nann:{HASH}\n\nbob@x.y:{HASH}\n")
    assert read(login=str(users)) == AppFiles(accounts=(("ann", HASH), ("bob@x.y", HASH)))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("ann:secret\n", "users:1: the password of ann is no bcrypt hash: 'htpasswd -nB ann' makes one"),
        (f"ann:{HASH}\n{{env}}:{HASH}\n", "users:2: expected NAME:HASH"),
        ("# nobody\n", "users names no user"),
    ],
)
def test_what_is_no_list_of_hashes_is_refused_and_no_password_is_quoted(tmp_path: Path, text: str, why: str) -> None:
    users = tmp_path / "users"
    users.write_text(text)
    problem = read(login=str(users)).problem
    assert why in problem
    assert "secret" not in problem


def test_a_certificate_is_known_by_its_content_and_has_to_fit_its_key(tmp_path: Path) -> None:
    chain, key = write_certificate(tmp_path, "a.example.com")
    certificate = Certificate(chain=str(chain), key=str(key))
    first = read(tls="files", certificate=certificate)
    assert first.problem == ""
    old = key.read_bytes()
    write_certificate(tmp_path, "a.example.com")
    assert read(tls="files", certificate=certificate).certificate != first.certificate
    key.write_bytes(old)
    assert "are no certificate with its key" in read(tls="files", certificate=certificate).problem
    key.unlink()
    assert "cannot read" in read(tls="files", certificate=certificate).problem
    odd = Certificate(chain=f"{chain}\n", key=str(key))
    assert "has characters that proxies misread" in read(tls="files", certificate=odd).problem
