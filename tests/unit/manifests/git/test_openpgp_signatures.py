"""An OpenPGP signature counts if a given key, neither expired nor revoked, made it for exactly this object."""

import asyncio
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from reconciler.manifests.git.program import PATH
from reconciler.manifests.git.signatures import Signature, Verifier
from reconciler.manifests.git.signed_objects import NotSigned
from reconciler.manifests.git.verifiers import Programs
from tests.support.signing import Repository, object_id, unsigned_commit, with_signature

PAYLOAD = unsigned_commit()


@dataclass(frozen=True, slots=True)
class Ring:
    """A keyring with secret keys, and the agent that gpg starts for it."""

    home: Path

    def gpg(self, *arguments: str, given: bytes = b"") -> bytes:
        command = ["gpg", "--homedir", str(self.home), "--batch", "--quiet", "--yes", "--pinentry-mode", "loopback"]
        command += ["--passphrase", "", *arguments]
        done = subprocess.run(command, input=given, env={"PATH": PATH}, check=False, capture_output=True)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    def make(self, user: str, *options: str, expires: str = "never") -> str:
        """Make a key, and return its fingerprint."""
        self.gpg(*options, "--quick-generate-key", user, "ed25519", "sign", expires)
        return self.fingerprints(user)[0]

    def fingerprints(self, user: str) -> list[str]:
        """The fingerprints of a key and its subkeys."""
        listed = self.gpg("--with-colons", "--list-keys", user).decode().splitlines()
        return [line.split(":")[9] for line in listed if line.startswith("fpr:")]

    def sign(self, key: str, payload: bytes = PAYLOAD, *options: str) -> bytes:
        return self.gpg("--armor", *options, "--local-user", f"{key}!", "--detach-sign", given=payload)

    def commit(self, key: str, *options: str) -> bytes:
        return with_signature(PAYLOAD, self.sign(key, PAYLOAD, *options))

    def keys(self, *names: str) -> bytes:
        return self.gpg("--armor", "--export", *names)


@pytest.fixture(scope="module")
def ring(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ring]:
    home = tmp_path_factory.mktemp("gpg")
    home.chmod(0o700)
    try:
        yield Ring(home)
    finally:
        subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "gpg-agent"], env={"PATH": PATH}, check=True)


def verified(raw: bytes, keys: bytes | None, scratch: Path, programs: Programs | None = None) -> Signature:
    async def story() -> Signature:
        async with Verifier(None, keys, scratch, programs) as verifier:
            return await verifier.commit(object_id(raw), raw)

    try:
        return asyncio.run(story())
    finally:
        assert [*scratch.iterdir()] == []


def fault(raw: bytes, keys: bytes | None, scratch: Path, programs: Programs | None = None) -> tuple[str, str]:
    with pytest.raises(NotSigned) as found:
        verified(raw, keys, scratch, programs)
    return found.value.fault, str(found.value)


@pytest.fixture(scope="module")
def alice(ring: Ring) -> str:
    return ring.make("alice@x")


def test_a_commit_is_verified_and_its_key_named_in_full(ring: Ring, alice: str, tmp_path: Path) -> None:
    found = verified(ring.commit(alice), ring.keys(alice), tmp_path)
    assert (found.identity, str(found)) == (alice, alice)
    assert len(alice) == 40


def test_a_signature_of_a_subkey_is_its_primary_keys(ring: Ring, tmp_path: Path) -> None:
    primary = ring.make("dora@x")
    ring.gpg("--quick-add-key", primary, "ed25519", "sign", "never")
    _, subkey = ring.fingerprints("dora@x")
    assert verified(ring.commit(subkey), ring.keys(primary), tmp_path).identity == primary
    keys_before = ring.keys(primary)
    ring.gpg("--faked-system-time", "20990101T000000!", "--quick-set-expire", primary, "20990102T000000", subkey)
    assert verified(ring.commit(subkey), keys_before, tmp_path).identity == primary


def test_a_strangers_key_is_told_with_its_id(ring: Ring, alice: str, tmp_path: Path) -> None:
    stranger = ring.make("stranger@x")
    kind, said = fault(ring.commit(stranger), ring.keys(alice), tmp_path)
    assert (kind, said) == ("no-signer", f"is signed by an OpenPGP key that no signer has ({stranger[-16:]})")


def test_a_signature_of_another_commit_is_refused(ring: Ring, alice: str, tmp_path: Path) -> None:
    raw = with_signature(unsigned_commit("Other\n"), ring.sign(alice))
    assert fault(raw, ring.keys(alice), tmp_path)[0] == "not-verified"


def test_a_key_that_has_expired_by_now_signs_nothing_though_gpg_calls_the_signature_good(
    ring: Ring, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    then = ("--faked-system-time", "20240101T000000")
    key = ring.make("eve@x", *then, expires="2024-06-01")
    raw = ring.commit(key, *then)
    repository = Repository(tmp_path_factory.mktemp("r") / "r")  # short: its home is to have a socket of gpg's agent
    Ring(Path(repository.env["HOME"])).gpg("--no-autostart", "--import", given=ring.keys(key))
    status = repository.git("verify-commit", "--raw", repository.add(raw)).stderr
    assert b"VALIDSIG" in status  # a reader of that word alone would be content
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    kind, said = fault(raw, ring.keys(key), scratch)
    assert (kind, said) == ("ended", f"is signed by the OpenPGP key {key[-16:]}, which has expired")


def test_a_subkey_that_has_expired_signs_nothing(ring: Ring, tmp_path: Path) -> None:
    then = ("--faked-system-time", "20240101T000000")
    primary = ring.make("frank@x", *then)
    ring.gpg(*then, "--quick-add-key", primary, "ed25519", "sign", "2024-06-01")
    _, subkey = ring.fingerprints("frank@x")
    assert fault(ring.commit(subkey, *then), ring.keys(primary), tmp_path)[0] == "ended"
    assert verified(ring.commit(primary), ring.keys(primary), tmp_path).identity == primary


def test_a_key_that_was_revoked_signs_nothing_and_never_did(ring: Ring, tmp_path: Path) -> None:
    key = ring.make("greta@x")
    raw = ring.commit(key)
    assert verified(raw, ring.keys(key), tmp_path).identity == key
    certificate = (ring.home / "openpgp-revocs.d" / f"{key}.rev").read_bytes().replace(b":-----BEGIN", b"-----BEGIN")
    ring.gpg("--import", given=certificate)
    kind, said = fault(raw, ring.keys(key), tmp_path)
    assert (kind, said) == ("ended", f"is signed by the OpenPGP key {key[-16:]}, which was revoked")


def test_two_signatures_in_one_block_are_refused(ring: Ring, alice: str, tmp_path: Path) -> None:
    bob = ring.make("bob@x")
    both = ring.gpg("--armor", "--local-user", alice, "--local-user", bob, "--detach-sign", given=PAYLOAD)
    assert fault(with_signature(PAYLOAD, both), ring.keys(alice, bob), tmp_path)[0] == "not-verified"
    assert fault(with_signature(PAYLOAD, both), ring.keys(alice), tmp_path)[0] == "no-signer"


def test_a_signature_that_brings_its_own_text_is_refused(ring: Ring, alice: str, tmp_path: Path) -> None:
    message = ring.gpg("--armor", "--local-user", alice, "--sign", given=PAYLOAD)
    assert fault(with_signature(PAYLOAD, message), ring.keys(alice), tmp_path)[0] == "unknown-form"
    disguised = message.replace(b"PGP MESSAGE", b"PGP SIGNATURE")
    assert fault(with_signature(unsigned_commit("Other\n"), disguised), ring.keys(alice), tmp_path)[0] == "not-verified"


def test_a_weak_digest_is_refused(ring: Ring, tmp_path: Path) -> None:
    ring.gpg("--quick-generate-key", "rsa@x", "rsa2048", "sign", "never")
    (key,) = ring.fingerprints("rsa@x")
    raw = ring.commit(key, "--digest-algo", "SHA1")
    assert fault(raw, ring.keys(key), tmp_path)[0] == "not-verified"
    assert verified(ring.commit(key, "--digest-algo", "SHA512"), ring.keys(key), tmp_path).identity == key


def test_a_signature_of_text_that_ignores_line_endings_is_refused(ring: Ring, alice: str, tmp_path: Path) -> None:
    assert fault(ring.commit(alice, "--textmode"), ring.keys(alice), tmp_path)[0] == "not-verified"


def test_a_verdict_in_names_and_comments_changes_nothing(ring: Ring, alice: str, tmp_path: Path) -> None:
    liar = ring.make("[GNUPG:] VALIDSIG 0 0 0 0 0 0 0 8 00 0 <l@x>")
    raw = ring.commit(liar, "--comment", "[GNUPG:] GOODSIG 0 0", "--sig-notation", "a@b=%0A[GNUPG:] GOODSIG 0 0")
    assert fault(raw, ring.keys(alice), tmp_path)[0] == "no-signer"
    assert verified(raw, ring.keys(liar), tmp_path).identity == liar


def test_a_state_directory_of_a_long_path_is_no_obstacle(ring: Ring, alice: str, tmp_path: Path) -> None:
    scratch = tmp_path / ("x" * 120)
    scratch.mkdir()
    assert verified(ring.commit(alice), ring.keys(alice), scratch).identity == alice


def test_keys_that_cannot_be_read_are_told(ring: Ring, alice: str, tmp_path: Path) -> None:
    for keys in (b"", b"nonsense", ring.keys(alice)[:200]):
        kind, said = fault(ring.commit(alice), keys, tmp_path)
        assert (kind, said) == ("not-verified", "cannot be verified: gpg cannot import every key of the file 'openpgp'")


def test_what_is_not_set_up_is_told(ring: Ring, alice: str, tmp_path: Path) -> None:
    assert fault(ring.commit(alice), None, tmp_path) == (
        "no-signer",
        "is signed with OpenPGP, and 'openpgp' is not set",
    )
    empty = tmp_path / "programs"
    scratch = tmp_path / "scratch"
    empty.mkdir()
    scratch.mkdir()
    said = "cannot be verified without gpg: install the package gnupg"
    assert fault(ring.commit(alice), ring.keys(alice), scratch, Programs(str(empty))) == ("no-program", said)


def test_a_verdict_of_a_program_that_fails_is_not_believed(ring: Ring, alice: str, tmp_path: Path) -> None:
    programs, scratch = tmp_path / "programs", tmp_path / "scratch"
    programs.mkdir()
    scratch.mkdir()
    lines = ["IMPORT_OK 1 x", "NEWSIG", "GOODSIG 0 x", f"VALIDSIG {alice} 0 0 0 4 0 22 8 00 {alice}"]
    text = "\n".join(f"echo '[GNUPG:] {line}'" for line in lines)
    for status, expected in ((0, True), (1, False)):
        (programs / "gpg").write_text(f'#!/bin/sh\n{text}\ncase "$*" in *--verify*) exit {status};; esac\n')
        (programs / "gpg").chmod(0o755)
        found = Programs(f"{programs}:/bin")
        if expected:
            assert verified(ring.commit(alice), b"x", scratch, found).identity == alice
        else:
            assert fault(ring.commit(alice), b"x", scratch, found)[0] == "not-verified"
