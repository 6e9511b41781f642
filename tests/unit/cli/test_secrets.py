"""Encrypted secrets on the command line: who can open one, and what `set` writes beside plain ones."""

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from reconciler.cli.main import group
from tests.support.encryption import a_key_of_ssh, an_identity, encrypted
from tests.support.site import REPOSITORY

SAMPLE = REPOSITORY / "tests" / "corpus" / "encrypted" / "nested.yaml"


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    (tmp_path / "host.yaml").write_text(yaml.safe_dump({"git": {"identities": [{"file": "age.txt"}]}}))
    return tmp_path / "host.yaml"


def told(settings: Path, file: Path, *options: str) -> Result:
    words = ["secrets", "recipients", str(file), "--settings", str(settings), "--state", str(settings.parent), *options]
    return CliRunner().invoke(group, words)


def test_the_recipients_of_an_age_file_are_listed_as_far_as_it_names_them(tmp_path: Path, settings: Path) -> None:
    ours, key = an_identity(tmp_path / "age.txt"), a_key_of_ssh(tmp_path / "key", "ed25519")
    (tmp_path / "f.age").write_bytes(encrypted("swordfish", [ours, key], armored=True))
    done = told(settings, tmp_path / "f.age")
    first, one, other, last = done.stdout.splitlines()
    assert (first, one) == (f"{tmp_path / 'f.age'} is encrypted with age to", "  X25519, which age does not name")
    assert other.startswith("  ssh-ed25519 (tag ")
    assert last == "and this host can open it"
    assert done.exit_code == 0


def test_a_file_that_this_host_cannot_open_is_a_failure_with_its_reason(tmp_path: Path, settings: Path) -> None:
    ours = an_identity(tmp_path / "age.txt")
    done = told(settings, SAMPLE, "--json")
    assert done.exit_code == 1
    found = json.loads(done.stdout)
    assert (found["encrypted_with"], found["opens"], len(found["recipients"])) == ("sops", False, 1)
    assert found["problem"].endswith(f"and this host has {ours}; encrypt it to that, too")
    (tmp_path / "plain").write_text("swordfish")
    done = told(settings, tmp_path / "plain")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == f"Error: {tmp_path / 'plain'} is not encrypted with age or SOPS\n"


def given(site: Path, settings: Path, name: str) -> Result:
    words = ["secrets", "set", "shop", name, "--settings", str(settings), "--state", str(site / "state")]
    return CliRunner().invoke(group, [*words, "--manifests", str(site / "manifests")], input="swordfish\n")


def test_what_is_set_is_encrypted_with_recipients_and_never_over_a_document_of_sops(tmp_path: Path) -> None:
    plain = tmp_path / "plain.yaml"
    plain.write_text("{}")
    sealing = tmp_path / "host.yaml"
    sealing.write_text(yaml.safe_dump({"git": {"recipients": [an_identity(tmp_path / "age.txt")]}}))
    secrets = tmp_path / "manifests" / "secrets"
    (tmp_path / ".git").mkdir()
    (tmp_path / "manifests").mkdir()
    manifest = tmp_path / "manifests" / "shop.yaml"
    manifest.write_text(f"path: .\nenv: {{OLD: {{file: {SAMPLE}}}}}\n")

    assert "which only its owner may read" in given(tmp_path, plain, "FIRST").stdout
    assert (secrets / "shop.FIRST").read_text() == "swordfish\n"
    done = given(tmp_path, sealing, "KEY")
    assert f"wrote {secrets / 'shop.KEY.age'}, encrypted with age: it may be committed once" in done.stdout, done.output
    assert "swordfish" not in (secrets / "shop.KEY.age").read_text()
    assert "which only its owner may read" in given(tmp_path, sealing, "FIRST").stdout  # it stays what it is

    before, sample = manifest.read_text(), SAMPLE.read_text()
    for settings, name, says in ((sealing, "OLD", "change it with 'sops edit'"), (plain, "KEY", "do not say to whom")):
        refused = given(tmp_path, settings, name)
        assert refused.exit_code == 1
        assert says in refused.stderr
    assert (manifest.read_text(), SAMPLE.read_text()) == (before, sample)
