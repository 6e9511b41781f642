"""Files that age encrypted: opened with this host's identities, and refused in one sentence and little time."""

import base64
import subprocess
import sys
from pathlib import Path

import pytest

from reconciler.vault.dotenv import Unusable
from reconciler.vault.encryption.age import MOST_RECIPIENTS
from reconciler.vault.encryption.identities import identity_files
from tests.support.encryption import Host, a_key_of_ssh, an_identity, encrypted, write_private

SECRET = "correct horse battery staple"


def refusal(host: Host, file: Path) -> str:
    with pytest.raises(Unusable) as refused:
        host.reader.text_of(file)
    return str(refused.value)


@pytest.mark.parametrize("armored", [False, True])
def test_a_file_encrypted_to_this_host_is_read_like_a_plain_one(tmp_path: Path, armored: bool) -> None:
    recipient = an_identity(tmp_path / "age.txt")
    other = an_identity(tmp_path / "other.txt")
    host = Host(identities=(tmp_path / "age.txt",))
    (tmp_path / "key.age").write_bytes(encrypted(f"{SECRET}\n", [other, recipient], armored=armored))
    assert host.reader.value_of(tmp_path / "key.age") == SECRET
    (tmp_path / "lines").write_bytes(encrypted(f"A='{SECRET}'\nB=2\n", [recipient], armored=armored))
    assert host.reader.variables_of(tmp_path / "lines") == {"A": SECRET, "B": "2"}
    (tmp_path / "json").write_bytes(encrypted('{"a": [1]}', [recipient], armored=armored))
    assert host.reader.fields_of(tmp_path / "json") == {"a": [1]}


@pytest.mark.parametrize("kind", ["ed25519", "rsa"])
def test_a_private_key_of_ssh_is_an_identity(tmp_path: Path, kind: str) -> None:
    recipient = a_key_of_ssh(tmp_path / "key", kind)
    (tmp_path / "f.age").write_bytes(encrypted(SECRET, [recipient]))
    assert Host(identities=(tmp_path / "key",)).reader.value_of(tmp_path / "f.age") == SECRET


def test_any_of_several_identities_opens_a_file_and_one_that_is_broken_is_no_obstacle(tmp_path: Path) -> None:
    an_identity(tmp_path / "old.txt")
    recipient = an_identity(tmp_path / "new.txt")
    write_private(tmp_path / "broken.txt", "AGE-SECRET-KEY-1NONSENSE\n")
    host = Host(identities=tuple(tmp_path / name for name in ("missing.txt", "broken.txt", "old.txt", "new.txt")))
    (tmp_path / "f.age").write_bytes(encrypted(SECRET, [recipient]))
    assert host.reader.value_of(tmp_path / "f.age") == SECRET


def test_an_identity_is_read_as_editors_of_other_systems_write_it(tmp_path: Path) -> None:
    recipient = an_identity(tmp_path / "age.txt")
    text = (tmp_path / "age.txt").read_text()
    write_private(tmp_path / "age.txt", "\ufeff" + text.replace("\n", "\r\n"))
    (tmp_path / "f.age").write_bytes(encrypted(SECRET, [recipient], armored=True).replace(b"\n", b"\r\n"))
    assert Host(identities=(tmp_path / "age.txt",)).reader.value_of(tmp_path / "f.age") == SECRET


def test_a_private_key_with_a_passphrase_is_told_with_the_remedy(tmp_path: Path) -> None:
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "a passphrase", "-f", str(tmp_path / "key")]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    (tmp_path / "f.age").write_bytes(encrypted(SECRET, [(tmp_path / "key.pub").read_text().strip()]))
    told = refusal(Host(identities=(tmp_path / "key",)), tmp_path / "f.age")
    assert f"the private key {tmp_path / 'key'} has a passphrase: use one without, for this host alone" in told


def test_an_identity_that_was_replaced_counts_at_once(tmp_path: Path) -> None:
    an_identity(tmp_path / "age.txt")
    host, file = Host(identities=(tmp_path / "age.txt",)), tmp_path / "f.age"
    file.write_bytes(encrypted(SECRET, [an_identity(tmp_path / "next.txt")]))
    assert "which is not this host's age1" in refusal(host, file)
    (tmp_path / "next.txt").replace(tmp_path / "age.txt")
    assert host.reader.value_of(file) == SECRET


def test_who_opens_it_and_who_does_not_is_said_with_the_remedy(tmp_path: Path) -> None:
    ours, others = an_identity(tmp_path / "ours.txt"), an_identity(tmp_path / "others.txt")
    file = tmp_path / "f.age"
    file.write_bytes(encrypted(SECRET, [others, a_key_of_ssh(tmp_path / "key", "ed25519")]))
    assert refusal(Host(identities=(tmp_path / "ours.txt",)), file) == (
        f"cannot open {file}: it is encrypted to 2 recipients (X25519, ssh-ed25519), none of which is this host's"
        f" {ours}; encrypt it to that, too"
    )
    assert refusal(Host(), file) == (
        f"cannot open {file}: it is encrypted with age, and this host has no identity; name one in 'git.identities' of"
        " the host's settings"
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "there is no identity in {file}; 'age-keygen -o {file}' writes one"),
        ("# only a comment\n", "there is no identity in {file}; 'age-keygen -o {file}' writes one"),
        ("# a\nsome text\n", "{file}:2: expected AGE-SECRET-KEY-1…, or one private key of ssh"),
        ("AGE-PLUGIN-YUBIKEY-1Q\n", "{file}:1: is an identity of a plugin, which is not supported"),
        ("AGE-SECRET-KEY-PQ-1Q\n", "{file}:1: is a post-quantum identity, which is not supported"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n", "{file} is no private key of ssh that age uses: expected"),
    ],
)
def test_a_file_that_is_no_identity_is_told_without_what_is_in_it(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "age.txt"
    write_private(file, text)
    (tmp_path / "f.age").write_bytes(encrypted(SECRET, [an_identity(tmp_path / "other.txt")]))
    told = refusal(Host(identities=(file,)), tmp_path / "f.age")
    assert says.format(file=file) in told
    assert "some text" not in told


def test_an_identity_that_all_may_read_is_not_used(tmp_path: Path) -> None:
    recipient = an_identity(tmp_path / "age.txt")
    (tmp_path / "age.txt").chmod(0o644)
    (tmp_path / "f.age").write_bytes(encrypted(SECRET, [recipient]))
    told = refusal(Host(identities=(tmp_path / "age.txt",)), tmp_path / "f.age")
    assert f"other users may read the identity {tmp_path / 'age.txt'}: run chmod o= on it" in told


def test_systemd_hands_identities_over_by_the_name_of_the_credential(tmp_path: Path) -> None:
    for name in ("age-identity", "age-identity-old", "another"):
        (tmp_path / name).touch()
    given = Path("/etc/reconciler/age.txt")
    found = identity_files((given,), {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert found == (given, tmp_path / "age-identity", tmp_path / "age-identity-old")
    assert identity_files((), {}) == identity_files((), {"CREDENTIALS_DIRECTORY": "/nonexistent"}) == ()


@pytest.mark.parametrize("armored", [False, True])
def test_a_file_cut_short_anywhere_never_passes_for_a_plain_one(tmp_path: Path, armored: bool) -> None:
    recipient = an_identity(tmp_path / "age.txt")
    host, file = Host(identities=(tmp_path / "age.txt",)), tmp_path / "key.age"
    whole = encrypted(SECRET, [recipient], armored=armored)
    for length in range(0, len(whole.rstrip()), 5):
        file.write_bytes(whole[:length])
        told = refusal(host, file)
        assert told.startswith((f"cannot open {file}: it is cut short", f"cannot use {file}: its name ends in .age"))
    plainly_named = file.rename(tmp_path / "key")
    for length in range(8, len(whole.rstrip()), 5):
        plainly_named.write_bytes(whole[:length])
        assert "it is cut short" in refusal(host, plainly_named)


def test_a_bit_that_was_changed_anywhere_is_noticed(tmp_path: Path) -> None:
    recipient = an_identity(tmp_path / "age.txt")
    host, file = Host(identities=(tmp_path / "age.txt",)), tmp_path / "key.age"
    whole = encrypted(SECRET, [recipient])
    for position in range(len(whole)):
        file.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        assert SECRET not in refusal(host, file)


def header(*stanzas: str) -> bytes:
    lines = "".join(f"-> {stanza}\n{base64.b64encode(bytes(32)).decode().rstrip('=')}\n" for stanza in stanzas)
    return f"age-encryption.org/v1\n{lines}--- {base64.b64encode(bytes(32)).decode().rstrip('=')}\n".encode() + bytes(
        50
    )


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (header(f"scrypt {'A' * 22} 30"), "it is encrypted with a passphrase; encrypt it to a recipient, such as"),
        (header(*["X25519 A"] * (MOST_RECIPIENTS + 1)), f"it is encrypted to more than {MOST_RECIPIENTS} recipients"),
        (header(*["X25519 A"] * 9000), f"it is encrypted to more than {MOST_RECIPIENTS} recipients"),
        (header(*["X25519 A"] * 50_000), "is larger than 1 MiB"),
        (b"age-encryption.org/v1\n" + b"-> X25519 A\n" * 50_000, "it is encrypted to more than"),
        (header(*["ssh-rsa AAAA"] * 20), "its header names one key of ssh again and again"),
        (b"age-encryption.org/v2\n-> X25519 A\n", "it has a format of age that is not supported: expected v1"),
    ],
)
def test_what_is_made_to_take_long_is_refused_before_it_is_tried(tmp_path: Path, content: bytes, says: str) -> None:
    an_identity(tmp_path / "age.txt")
    (tmp_path / "key.age").write_bytes(content)
    assert says in refusal(Host(identities=(tmp_path / "age.txt",)), tmp_path / "key.age")


@pytest.mark.parametrize("name", ["key.age", "shop.sops.env", "db.sops"])
def test_a_plain_file_whose_name_says_that_it_is_encrypted_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(f"A={SECRET}\n")
    told = refusal(Host(), tmp_path / name)
    assert told.startswith(f"cannot use {tmp_path / name}: its name ")
    assert SECRET not in told


def test_the_files_of_an_origin_that_may_not_are_not_opened(tmp_path: Path) -> None:
    recipient = an_identity(tmp_path / "age.txt")
    (tmp_path / "fleet").mkdir()
    for file in (tmp_path / "fleet" / "f.age", tmp_path / "f.age"):
        file.write_bytes(encrypted(SECRET, [recipient]))
    host = Host(identities=(tmp_path / "age.txt",), unopened=(tmp_path / "fleet",))
    assert refusal(host, tmp_path / "fleet" / "f.age").endswith("opened with this host's identities (may.secrets)")
    assert host.reader.value_of(tmp_path / "f.age") == SECRET


def test_a_missing_package_is_named_with_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "f.age").write_bytes(encrypted(SECRET, [an_identity(tmp_path / "age.txt")]))
    monkeypatch.setitem(sys.modules, "pyrage", None)
    assert refusal(Host(identities=(tmp_path / "age.txt",)), tmp_path / "f.age") == (
        f"cannot open {tmp_path / 'f.age'}: it is encrypted with age, which needs a package; pip install"
        " 'reconciler[secrets]', then restart the daemon"
    )
