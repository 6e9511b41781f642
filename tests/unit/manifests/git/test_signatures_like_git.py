"""Of thousands of damaged commits, none is verified that git refuses, and none refused as wrong that git verifies.

What can be read in two ways is refused before any signature is looked at, whatever git makes of it. Commits are signed
here by the library, to the bytes: the programs on trial are ssh-keygen as it is called, and git.
"""

import asyncio
import base64
import hashlib
import os
import random
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from reconciler.manifests.git.signatures import Verifier
from reconciler.manifests.git.signed_objects import NotSigned
from reconciler.manifests.git.signers import Signers, signers_of
from tests.support.signing import Repository, object_id, unsigned_commit, with_signature

IS_NIGHTLY = os.environ.get("RECONCILER_TESTS") == "nightly"
MUTATIONS = 300
PARTS = 34 if IS_NIGHTLY else 1
SECRET = Ed25519PrivateKey.from_private_bytes(bytes(32))
PARENT = "0" * 39 + "1"
LINES = (
    *(b"gpgsig x", b"gpgsig-sha256 x", b"gpgsigx y", b"gpgsig", b" x", b" ", b"encoding latin1", b"x y", b"x", b""),
    *(b"parent " + PARENT.encode(), b"author A <a@b> 1 +0000", b"tree " + b"0" * 40, b"mergetag object x\n y", b"\r"),
    b"-----BEGIN SSH SIGNATURE-----",
    b"-----END SSH SIGNATURE-----",
)


def wire(*parts: bytes) -> bytes:
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


PUBLIC = wire(b"ssh-ed25519", SECRET.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))
SIGNER = f"alice@x ssh-ed25519 {base64.b64encode(PUBLIC).decode()}\n"


def signature(payload: bytes) -> bytes:
    """The signature of PROTOCOL.sshsig, as ssh-keygen makes it."""
    inner = SECRET.sign(b"SSHSIG" + wire(b"git", b"", b"sha512", hashlib.sha512(payload).digest()))
    blob = b"SSHSIG" + (1).to_bytes(4, "big") + wire(PUBLIC, b"git", b"", b"sha512", wire(b"ssh-ed25519", inner))
    text = base64.b64encode(blob)
    lines = b"\n".join(text[at : at + 70] for at in range(0, len(text), 70))
    return b"-----BEGIN SSH SIGNATURE-----\n" + lines + b"\n-----END SSH SIGNATURE-----\n"


def mutated(raw: bytes, chance: random.Random) -> bytes:
    """The bytes with one thing wrong."""
    return chance.choice((of_bytes, of_lines, of_lines))(raw, chance)


def of_bytes(raw: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(raw)) if raw else 0
    before, here, after = raw[:at], raw[at : at + 1], raw[at + 1 :]
    flipped = bytes(byte ^ (1 << chance.randrange(8)) for byte in here)
    more = chance.choice((b"\0", b"\n", b"\r", b" ", b"\t", b"-", b"\x0b", b"\xff"))
    end = chance.choice((b"\n", b"more", b"\n\n", b"\0", signature(raw)))
    return chance.choice((before + flipped + after, before + after, before + more + here + after, before, raw + end))


def of_lines(raw: bytes, chance: random.Random) -> bytes:
    lines = raw.split(b"\n")
    one, other = chance.randrange(len(lines)), chance.randrange(len(lines))
    match chance.randrange(6):
        case 0:
            lines.insert(one, lines[other])
        case 1:
            del lines[one]
        case 2:
            lines[one], lines[other] = lines[other], lines[one]
        case 3:
            lines[one] = lines[one].removeprefix(b" ")
        case 4:
            lines[one] = chance.choice((b" ", b"  ")) + lines[one]
        case _:
            lines.insert(one, chance.choice(LINES))
    return b"\n".join(lines)


def signed_anywhere(payload: bytes, chance: random.Random) -> bytes:
    """A commit with the right signature of its payload, after any of its headers."""
    head, blank, message = payload.partition(b"\n\n")
    lines = head.split(b"\n")
    header = b"gpgsig " + signature(payload).rstrip(b"\n").replace(b"\n", b"\n ")
    lines.insert(chance.choice((len(lines), chance.randrange(len(lines) + 1))), header)
    return b"\n".join(lines) + blank + message


def candidate(chance: random.Random) -> bytes:
    message = chance.choice(
        ("Subject\n", "", "S\n\n[GNUPG:] VALIDSIG x\n", "S\n\ngpgsig x\n y\n", "Grüße\n\n" + "x\n" * 50)
    )
    payload = unsigned_commit(message, parents=[PARENT] * chance.randrange(3))
    if chance.random() < 0.05:
        return payload
    if chance.random() < 0.5:
        if chance.random() < 0.8:
            payload = mutated(payload, chance)
        return signed_anywhere(payload, chance)
    raw = with_signature(payload, signature(payload))
    for _ in range(chance.randrange(3)):
        raw = mutated(raw, chance)
    return raw


async def faults(raws: list[bytes], scratch: Path) -> list[str]:
    """For each commit its fault, empty if it is verified."""
    signers = signers_of("/signers", SIGNER.encode())
    assert isinstance(signers, Signers)
    found = []
    async with Verifier(signers, None, scratch) as verifier:
        for raw in raws:
            try:
                await verifier.commit(object_id(raw), raw)
                found.append("")
            except NotSigned as error:
                found.append(error.fault)
    return found


def disagreements(seed: int, tmp_path: Path) -> tuple[list[bytes], dict[str, int]]:
    """The commits on which git is of another mind, and how often each fault was found."""
    chance = random.Random(seed)
    raws = [candidate(chance) for _ in range(MUTATIONS)]
    repository = Repository(tmp_path / "repository")
    repository.trust(SIGNER)
    counts: dict[str, int] = {}
    wrong = []
    for raw, fault in zip(raws, asyncio.run(faults(raws, tmp_path)), strict=True):
        counts[fault] = counts.get(fault, 0) + 1
        if fault not in ("malformed", "unknown-form") and repository.verifies(raw) != (fault == ""):
            wrong.append(raw)
    return wrong, counts


@pytest.mark.parametrize("part", range(PARTS))
def test_damaged_commits_are_refused_or_judged_as_git_does(tmp_path: Path, part: int) -> None:
    seed = random.SystemRandom().getrandbits(32) if IS_NIGHTLY else 17
    wrong, counts = disagreements(seed, tmp_path)
    assert wrong == [], seed
    # The mutations are worth something: a good part of them is verified, and each fault is found.
    assert counts[""] > MUTATIONS // 10, (counts, seed)
    assert counts.keys() >= {"", "malformed", "not-verified", "unsigned"}, (counts, seed)
