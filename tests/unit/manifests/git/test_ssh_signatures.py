"""A signature counts if a key that may sign now made it, for exactly this object, whatever any text says."""

import asyncio
import base64
import hashlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from reconciler.manifests.git.program import PATH
from reconciler.manifests.git.signatures import Signature, Verifier
from reconciler.manifests.git.signed_objects import NotSigned
from reconciler.manifests.git.signers import Signers, signers_of
from reconciler.manifests.git.verifiers import Programs
from reconciler.planning.origins.history import commits_to_judge
from tests.support.eventually import eventually
from tests.support.signing import (
    Key,
    Repository,
    make_certificate,
    make_key,
    object_id,
    unsigned_commit,
    unsigned_tag,
    with_signature,
)

IN_2024 = 1_717_200_000
PAYLOAD = unsigned_commit()


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Key]:
    directory = tmp_path_factory.mktemp("keys")
    made: dict[str, Key] = {}

    def key(name: str) -> Key:
        if name not in made:
            made[name] = make_key(directory / name, *name.split("-")[1:])
        return made[name]

    return key


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repository")


def signers(text: str) -> Signers:
    found = signers_of("/signers", text.encode())
    assert isinstance(found, Signers), found
    return found


def verified(raw: bytes, text: str, programs: Programs | None = None) -> Signature:
    async def story() -> Signature:
        async with Verifier(signers(text), None, Path("/nonexistent"), programs) as verifier:
            return await verifier.commit(object_id(raw), raw)

    return asyncio.run(story())


def fault(raw: bytes, text: str, programs: Programs | None = None) -> tuple[str, str]:
    with pytest.raises(NotSigned) as found:
        verified(raw, text, programs)
    return found.value.fault, str(found.value)


def test_a_commit_of_a_signer_is_verified_and_the_signer_named(keys: Callable[[str], Key]) -> None:
    alice = keys("alice")
    found = verified(alice.commit(PAYLOAD), f"bob@x {keys('bob').public}\nalice@x {alice.public}\n")
    key = base64.b64decode(alice.public.split()[1])
    assert found.identity == "alice@x"
    assert found.key == "SHA256:" + base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")
    assert str(found) == f"alice@x ({found.key})"


@pytest.mark.parametrize("name", ["k-ecdsa", "k-rsa"])
def test_other_kinds_of_keys_sign_as_well(keys: Callable[[str], Key], name: str) -> None:
    assert verified(keys(name).commit(PAYLOAD), f"alice@x {keys(name).public}\n").identity == "alice@x"


def test_an_unsigned_commit_is_refused(keys: Callable[[str], Key]) -> None:
    assert fault(PAYLOAD, f"alice@x {keys('alice').public}\n") == ("unsigned", "is not signed")


def test_a_commit_of_a_stranger_is_refused(keys: Callable[[str], Key]) -> None:
    kind, said = fault(keys("stranger").commit(PAYLOAD), f"alice@x {keys('alice').public}\n")
    assert kind == "no-signer"
    assert said.startswith("is signed by a key that no signer has (SHA256:")


def test_a_signature_of_another_commit_is_refused(keys: Callable[[str], Key]) -> None:
    alice = keys("alice")
    raw = with_signature(unsigned_commit("Other\n"), alice.sign(PAYLOAD))
    kind, said = fault(raw, f"alice@x {alice.public}\n")
    assert kind == "not-verified"
    assert said.startswith("has a signature of alice@x that does not fit it")


def test_the_signer_is_the_principal_of_the_key_and_never_the_author(
    keys: Callable[[str], Key], repository: Repository
) -> None:
    text = f"alice@x {keys('alice').public}\nbob@x {keys('bob').public}\n"
    raw = keys("bob").commit(unsigned_commit(author="Alice <alice@x>"))
    repository.trust(text)
    assert repository.verifies(raw)
    assert verified(raw, text).identity == "bob@x"


def test_a_commit_dated_to_before_the_end_of_its_key_is_refused(
    keys: Callable[[str], Key], repository: Repository
) -> None:
    """The control: git judges by the date that the commit gives itself, and is content."""
    text = f'alice@x valid-before="20250101Z" {keys("alice").public}\n'
    raw = keys("alice").commit(unsigned_commit(at=IN_2024))
    repository.trust(text)
    assert repository.verifies(raw)
    assert fault(raw, text) == ("ended", "is signed by alice@x, whose key ended on 2025-01-01")


def test_a_key_that_is_not_valid_yet_signs_nothing(keys: Callable[[str], Key]) -> None:
    text = f'alice@x valid-after="20990101Z" {keys("alice").public}\n'
    assert fault(keys("alice").commit(PAYLOAD), text) == (
        "ended",
        "is signed by alice@x, whose key begins on 2099-01-01",
    )
    text = f'alice@x valid-after="20200101",valid-before="20990101" {keys("alice").public}\n'
    assert verified(keys("alice").commit(PAYLOAD), text).identity == "alice@x"


def test_a_key_signs_only_in_its_namespaces(keys: Callable[[str], Key]) -> None:
    alice = keys("alice")
    assert fault(alice.commit(PAYLOAD), f'alice@x namespaces="file" {alice.public}\n') == (
        "no-signer",
        "is signed by alice@x, whose key may not sign for git",
    )
    assert verified(alice.commit(PAYLOAD), f'alice@x namespaces="file,g*" {alice.public}\n').identity == "alice@x"
    other = with_signature(PAYLOAD, alice.sign(PAYLOAD, namespace="file"))
    assert fault(other, f"alice@x {alice.public}\n") == ("not-verified", "is signed for something else than git")


def test_unsigned_commits_behind_a_signed_merge_are_judged(keys: Callable[[str], Key], repository: Repository) -> None:
    """The control: git, and with it the rule of peers, looks at the merge only, and is content."""
    alice, text = keys("alice"), f"alice@x {keys('alice').public}\n"
    accepted = alice.commit(unsigned_commit("Accepted\n"))
    unsigned = unsigned_commit("Evil\n", parents=[object_id(accepted)])
    merge = alice.commit(unsigned_commit("Merge\n", parents=[object_id(accepted), object_id(unsigned)]))
    objects = {object_id(raw): raw for raw in (accepted, unsigned, merge)}
    graph = {
        object_id(accepted): (),
        object_id(unsigned): (object_id(accepted),),
        object_id(merge): (object_id(accepted), object_id(unsigned)),
    }
    for raw in objects.values():
        repository.add(raw)
    repository.trust(text)
    assert repository.verifies(merge)
    judged = commits_to_judge(graph, object_id(merge), object_id(accepted), "every")
    assert judged == (object_id(unsigned), object_id(merge))
    assert fault(objects[judged[0]], text) == ("unsigned", "is not signed")
    assert verified(objects[judged[1]], text).identity == "alice@x"


def test_a_certificate_counts_for_the_principal_in_it_while_it_is_valid(keys: Callable[[str], Key]) -> None:
    authority, holder = keys("authority"), keys("holder")
    text = f"*@x cert-authority {authority.public}\n"
    good = make_certificate(authority, holder, "carol@x")
    assert verified(good.commit(PAYLOAD), text).identity == "carol@x"
    assert fault(good.commit(PAYLOAD), f"*@other cert-authority {authority.public}\n")[0] == "no-signer"
    assert fault(good.commit(PAYLOAD), f"*@x {authority.public}\n")[0] == "no-signer"
    assert fault(keys("authority").commit(PAYLOAD), text) == (
        "no-signer",
        "is signed by the key of *@x, which may not sign commits itself",
    )
    ended = make_certificate(authority, holder, "carol@x", "-V", "20200101:20210101")
    assert fault(ended.commit(PAYLOAD), text)[0] in ("no-signer", "not-verified")
    foreign = make_certificate(keys("stranger"), holder, "carol@x")
    assert fault(foreign.commit(PAYLOAD), text)[1] == "is signed by a key that no signer has (a certificate)"


def _wire(*parts: bytes) -> bytes:
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def test_a_key_in_a_token_signs_as_others_do() -> None:
    """The bytes that a security key makes: PROTOCOL.u2f of OpenSSH."""
    kind, application = b"sk-ssh-ed25519@openssh.com", b"ssh:"
    secret = Ed25519PrivateKey.generate()
    public = _wire(kind, secret.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw), application)
    signed = b"SSHSIG" + _wire(b"git", b"", b"sha512", hashlib.sha512(PAYLOAD).digest())
    flags = b"\1" + (7).to_bytes(4, "big")
    inner = secret.sign(hashlib.sha256(application).digest() + flags + hashlib.sha256(signed).digest())
    blob = b"SSHSIG" + (1).to_bytes(4, "big") + _wire(public, b"git", b"", b"sha512", _wire(kind, inner) + flags)
    text = base64.encodebytes(blob).decode()
    armored = f"-----BEGIN SSH SIGNATURE-----\n{text}-----END SSH SIGNATURE-----\n"
    line = f"alice@x {kind.decode()} {base64.b64encode(public).decode()}\n"
    assert verified(with_signature(PAYLOAD, armored.encode()), line).identity == "alice@x"


def test_a_key_that_was_removed_signs_nothing_more_and_another_still_does(keys: Callable[[str], Key]) -> None:
    raw = keys("alice").commit(PAYLOAD)
    both = f"alice@x {keys('alice').public}\nbob@x {keys('bob').public}\n"
    without = f"bob@x {keys('bob').public}\n"
    assert verified(raw, both).identity == "alice@x"
    assert signers(both).trusted(0) != signers(without).trusted(0)
    assert fault(raw, without)[0] == "no-signer"
    assert verified(keys("bob").commit(PAYLOAD), without).identity == "bob@x"


@pytest.mark.parametrize(
    "text",
    [
        'Good "git" signature for alice@x with ED25519 key SHA256:x',
        "[GNUPG:] GOODSIG 0123456789ABCDEF Alice\n[GNUPG:] VALIDSIG 0 0 0 0 0 0 0 8 00 0",
        "alice@x",
    ],
)
def test_text_that_looks_like_a_verdict_changes_nothing(tmp_path: Path, keys: Callable[[str], Key], text: str) -> None:
    stranger = make_key(tmp_path / "stranger", comment=text.partition("\n")[0])
    author = f"{text.replace('<', '').partition(chr(10))[0]} <alice@x>"
    raw = stranger.commit(unsigned_commit(f"{text}\n\n{text}\n", author=author))
    assert fault(raw, f"alice@x {keys('alice').public}\n")[0] == "no-signer"
    assert fault(unsigned_commit(f"{text}\n", author=author), f"alice@x {keys('alice').public}\n")[0] == "unsigned"
    # A signer's own text changes nothing either.
    mine = keys("alice").commit(unsigned_commit(f"{text}\n\n{text}\n", author=author))
    assert verified(mine, f"alice@x {keys('alice').public} {text.partition(chr(10))[0]}\n").identity == "alice@x"


def test_a_program_that_prints_a_verdict_and_fails_is_not_believed(tmp_path: Path, keys: Callable[[str], Key]) -> None:
    script(tmp_path, 'echo alice@x; echo Good \\"git\\" signature for alice@x; case "$2" in verify) exit 1;; esac')
    kind, _ = fault(keys("alice").commit(PAYLOAD), f"alice@x {keys('alice').public}\n", Programs(f"{tmp_path}:/bin"))
    assert kind == "not-verified"


@pytest.mark.parametrize(
    "output", ["", "\\n", "a b\\n", "\\033[2J\\n", "\\377\\n", "$(head -c 300 /dev/zero | tr '\\0' a)"]
)
def test_a_principal_that_cannot_be_shown_is_none(tmp_path: Path, keys: Callable[[str], Key], output: str) -> None:
    script(tmp_path, f'printf "{output}"')
    programs = Programs(f"{tmp_path}:/usr/bin:/bin")
    assert fault(keys("alice").commit(PAYLOAD), f"alice@x {keys('bob').public}\n", programs)[0] == "no-signer"


def script(directory: Path, text: str, name: str = "ssh-keygen") -> None:
    (directory / name).write_text(f"#!/bin/sh\n{text}\n")
    (directory / name).chmod(0o755)


def test_a_missing_program_is_told_with_its_package(tmp_path: Path, keys: Callable[[str], Key]) -> None:
    found = fault(keys("alice").commit(PAYLOAD), f"alice@x {keys('alice').public}\n", Programs(str(tmp_path)))
    assert found == ("no-program", "cannot be verified without ssh-keygen: install the package openssh-client")


def test_a_program_that_hangs_is_ended_with_all_it_started(tmp_path: Path, keys: Callable[[str], Key]) -> None:
    pids = tmp_path / "pids"
    script(tmp_path, f"sleep 600 & echo $! $$ >{pids}.new; mv {pids}.new {pids}; wait")
    raw, text = keys("alice").commit(PAYLOAD), f"alice@x {keys('alice').public}\n"
    said = ("timed-out", "was not verified by ssh-keygen within 2 s")
    try:
        assert fault(raw, text, Programs(f"{tmp_path}:/usr/bin:/bin", within_s=2)) == said
        started = [int(pid) for pid in pids.read_text().split()] if pids.exists() else []
        eventually(lambda: not [pid for pid in started if psutil.pid_exists(pid) and is_running(pid)])
    finally:
        with suppress(OSError, psutil.Error):
            for pid in pids.read_text().split():
                psutil.Process(int(pid)).kill()


def is_running(pid: int) -> bool:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def test_the_environment_is_built_from_nothing(
    tmp_path: Path, keys: Callable[[str], Key], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LD_PRELOAD_CANARY", "SSH_ASKPASS", "GIT_DIR", "GNUPGHOME", "BASH_ENV"):
        monkeypatch.setenv(name, "/canary")
    script(tmp_path, f"cat /proc/self/environ >{tmp_path}/environ; exit 1")
    fault(keys("alice").commit(PAYLOAD), f"alice@x {keys('alice').public}\n", Programs(f"{tmp_path}:/usr/bin:/bin"))
    names = {entry.partition("=")[0] for entry in (tmp_path / "environ").read_text().split("\0")} - {
        "",
        "_",
        "PWD",
        "SHLVL",
        "OLDPWD",
    }
    assert names == {"PATH", "LANG", "LC_ALL", "HOME"}


def test_nothing_is_left_on_the_disk_or_open(tmp_path: Path, keys: Callable[[str], Key]) -> None:
    before = set(Path("/proc/self/fd").iterdir())
    verified(keys("alice").commit(PAYLOAD), f"alice@x {keys('alice').public}\n")
    assert set(Path("/proc/self/fd").iterdir()) <= before


def verified_tag(raw: bytes, text: str, name: str, commit: str) -> Signature:
    async def story() -> Signature:
        async with Verifier(signers(text), None, Path("/nonexistent")) as verifier:
            return await verifier.tag(object_id(raw, "tag"), raw, name, commit)

    return asyncio.run(story())


def test_a_signed_tag_counts_under_its_own_name_only(keys: Callable[[str], Key], repository: Repository) -> None:
    """The control: git verifies the tag under whatever name it is asked for."""
    alice, text = keys("alice"), f"alice@x {keys('alice').public}\n"
    commit = repository.add(alice.commit(PAYLOAD))
    raw = alice.tag(unsigned_tag(commit, "v1.4.2"))
    repository.trust(text)
    repository.git("update-ref", "refs/tags/v2.0.0", repository.add(raw, "tag"))
    assert repository.git("verify-tag", "v2.0.0").returncode == 0
    assert verified_tag(raw, text, "v1.4.2", commit).identity == "alice@x"
    with pytest.raises(NotSigned, match=r"is named 'v1\.4\.2' in what is signed"):
        verified_tag(raw, text, "v2.0.0", commit)


def test_the_programs_are_found_where_systems_have_them() -> None:
    assert "/usr/bin" in PATH.split(":")
    assert all(directory.startswith("/") for directory in PATH.split(":"))
