"""The programs that repositories need: missing, too old, and as they should be."""

from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.inspection.checks.git_programs import git_programs
from reconciler.settings.git import Repository
from reconciler.settings.settings import Settings
from reconciler.state.paths import StatePaths


def settings(**repository: object) -> Settings:
    plain = Settings(manifests=Path("/m"), paths=StatePaths(state=Path("/s")))
    given = {"name": "fleet", "urls": ("https://git.example.com/fleet.git",), "signed": "no", **repository}
    return replace(plain, repositories={"fleet": Repository(**given)})  # type: ignore[arg-type]


def found(**repository: object) -> list[tuple[str, str, str]]:
    return [(each.level, each.subject, each.found) for each in git_programs(settings(**repository))]


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("reconciler.manifests.git.program.PATH", str(tmp_path))
    return tmp_path


def program(directory: Path, name: str, told: str) -> None:
    file = directory / name
    file.write_text(f"#!/bin/sh\necho '{told}' >&2\n")
    file.chmod(0o755)


def test_a_host_without_a_repository_needs_none() -> None:
    assert [*git_programs(replace(settings(), repositories={}))] == []


def test_each_program_is_told_with_its_version(programs: Path) -> None:
    program(programs, "git", "git version 2.39.5 (Apple Git-154)")
    program(programs, "ssh", "OpenSSH_9.2p1 Debian-2+deb12u3, OpenSSL 3.0.15 3 Sep 2024")
    program(programs, "gpg", "gpg (GnuPG) 2.2.40")
    assert found() == [("ok", "git", "git 2.39.5")]
    assert found(signers=Path("/signers"), openpgp=Path("/keys"), signed="every") == [
        ("ok", "git", "git 2.39.5"),
        ("ok", "ssh", "OpenSSH 9.2"),
        ("ok", "gpg", "GnuPG 2.2.40"),
    ]


def test_what_is_missing_or_too_old_fails_with_what_cannot_be_done(programs: Path) -> None:
    assert found() == [("fail", "git", "there is none: no repository can be fetched")]
    program(programs, "git", "git version 2.9.10")
    program(programs, "ssh", "OpenSSH_8.4p1, OpenSSL 1.1.1k")
    by_ssh = found(urls=("ssh://git@git.example.com/fleet.git",))
    assert [(level, subject) for level, subject, _ in by_ssh] == [("fail", "git"), ("fail", "ssh")]
    assert by_ssh[0][2] == "is git 2.9.10, which is too old: no repository can be fetched"
    program(programs, "git", "no version")
    assert found() == [("warn", "git", "its version is not known: 'no version'")]
