"""What `doctor` says of the identities of this host and of the encrypted files of its manifests."""

import sys
from pathlib import Path
from typing import Any

import pytest

from reconciler.inspection.checks.encrypted_files import encrypted_files, identities
from reconciler.manifests.catalog import Catalog
from reconciler.planning.services.service import Service
from reconciler.settings.settings import Settings
from reconciler.state.paths import StatePaths
from tests.support.encryption import an_identity, encrypted
from tests.world import an_app


def settings(directory: Path, *files: str) -> Settings:
    given = tuple(directory / name for name in files)
    return Settings(manifests=directory, paths=StatePaths(state=directory / "state"), identities=given)


def test_what_to_encrypt_to_is_told_and_so_is_an_identity_that_cannot_be_used(tmp_path: Path) -> None:
    recipient = an_identity(tmp_path / "age.txt")
    missing, good = identities(settings(tmp_path, "missing.txt", "age.txt"))
    assert (missing.level, missing.found) == (
        "warn",
        f"cannot read the identity {tmp_path / 'missing.txt'}: No such file or directory",
    )
    assert (good.level, good.found) == ("ok", f"this host opens what is encrypted to {recipient}")
    assert [*identities(settings(tmp_path))] == []


def test_the_package_is_missed_where_an_identity_or_an_encrypted_file_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipient = an_identity(tmp_path / "age.txt")
    (tmp_path / "key").write_bytes(encrypted("swordfish", [recipient]))
    asked: dict[str, Any] = {"credentials": {"password": {"file": str(tmp_path / "key")}}}
    service = Service(name="mail", manifest="", type="user-provided", asked=asked)
    catalog = Catalog(apps={"shop": an_app()}, services={"mail": service})
    (fine,) = encrypted_files(settings(tmp_path, "age.txt"), catalog)
    assert (fine.level, fine.found) == ("ok", "1 file can be opened")
    monkeypatch.setitem(sys.modules, "pyrage", None)
    remedy = "pip install 'reconciler[secrets]', then restart the daemon"
    for (found,) in (identities(settings(tmp_path, "age.txt")), encrypted_files(settings(tmp_path), catalog)):
        assert found.level == "warn"
        assert remedy in found.advice


def test_of_many_files_that_cannot_be_opened_some_are_named(tmp_path: Path) -> None:
    recipient = an_identity(tmp_path / "other.txt")
    asked: dict[str, Any] = {"credentials": {}}
    for number in range(7):
        (tmp_path / f"{number}.age").write_bytes(encrypted("swordfish", [recipient]))
        asked["credentials"][f"key{number}"] = {"file": str(tmp_path / f"{number}.age")}
    catalog = Catalog(services={"mail": Service(name="mail", manifest="", type="user-provided", asked=asked)})
    found = [*encrypted_files(settings(tmp_path), catalog)]
    assert len(found) == 6
    assert found[0].advice == "name one in 'git.identities' of the host's settings"
    assert found[-1].found == "2 more cannot be opened"
