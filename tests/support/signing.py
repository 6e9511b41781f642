"""Commits and tags as bytes, signed by real programs, and a store in which git itself can be asked about them."""

import hashlib
import os
import subprocess
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"  # the empty one
_PATH = os.environ["PATH"]


def object_id(raw: bytes, kind: str = "commit") -> str:
    return hashlib.sha1(b"%s %d\0%s" % (kind.encode(), len(raw), raw)).hexdigest()


def unsigned_commit(
    message: str = "Subject\n", *, parents: Sequence[str] = (), author: str = "Alice <alice@x>", at: int = 1_780_000_000
) -> bytes:
    above = "".join(f"parent {parent}\n" for parent in parents)
    return f"tree {TREE}\n{above}author {author} {at} +0000\ncommitter {author} {at} +0000\n\n{message}".encode()


def unsigned_tag(commit: str, name: str, message: str = "Release\n") -> bytes:
    return f"object {commit}\ntype commit\ntag {name}\ntagger Alice <alice@x> 1780000000 +0000\n\n{message}".encode()


def with_signature(payload: bytes, signature: bytes, header: bytes = b"gpgsig") -> bytes:
    """The commit that git makes of these."""
    head, _, message = payload.partition(b"\n\n")
    return head + b"\n" + header + b" " + signature.rstrip(b"\n").replace(b"\n", b"\n ") + b"\n\n" + message


@dataclass(frozen=True, slots=True)
class Key:
    """An ssh key in a file."""

    file: Path

    @property
    def public(self) -> str:
        return " ".join(Path(f"{self.file}.pub").read_text().split()[:2])

    def sign(self, payload: bytes, namespace: str = "git") -> bytes:
        """The armored signature of a payload."""
        command = ["ssh-keygen", "-q", "-Y", "sign", "-f", str(self.file), "-n", namespace]
        return subprocess.run(command, input=payload, env={"PATH": _PATH}, check=True, capture_output=True).stdout

    def commit(self, payload: bytes) -> bytes:
        return with_signature(payload, self.sign(payload))

    def tag(self, payload: bytes) -> bytes:
        return payload + self.sign(payload)


def make_key(file: Path, kind: str = "ed25519", comment: str = "") -> Key:
    size = ("-b", "2048") if kind == "rsa" else ()
    command = ["ssh-keygen", "-q", "-t", kind, *size, "-N", "", "-C", comment, "-f", str(file)]
    subprocess.run(command, env={"PATH": _PATH}, check=True)
    return Key(file)


def make_certificate(authority: Key, key: Key, principal: str, *options: str) -> Key:
    """Certify a key, and return it with its certificate: what is signed with it has that inside."""
    command = ["ssh-keygen", "-q", "-s", str(authority.file), "-I", "id", "-n", principal, *options, f"{key.file}.pub"]
    subprocess.run(command, env={"PATH": _PATH}, check=True)
    return Key(Path(f"{key.file}-cert.pub"))


@dataclass(frozen=True, slots=True)
class Repository:
    """A bare repository whose objects are written as they are given, however malformed."""

    path: Path
    env: dict[str, str] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        home = self.path.with_name(f"{self.path.name}-home")
        home.mkdir(mode=0o700)
        self.env.update(PATH=_PATH, HOME=str(home), GIT_CONFIG_NOSYSTEM="1", LC_ALL="C", GNUPGHOME=str(home))
        self.git("init", "--quiet", "--bare", str(self.path))

    def git(self, *arguments: str, given: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
        command = ["git", "-C", str(self.path.parent), f"--git-dir={self.path}", *arguments]
        return subprocess.run(command, input=given, env=self.env, check=False, capture_output=True)

    def add(self, raw: bytes, kind: str = "commit") -> str:
        """Write an object, and return its id."""
        found = object_id(raw, kind)
        file = self.path / "objects" / found[:2] / found[2:]
        file.parent.mkdir(exist_ok=True)
        if not file.exists():
            file.write_bytes(zlib.compress(b"%s %d\0%s" % (kind.encode(), len(raw), raw), 1))
        return found

    def trust(self, signers: str) -> None:
        """Have git verify signatures with these signers."""
        file = self.path / "signers"
        file.write_text(signers)
        self.git("config", "gpg.ssh.allowedSignersFile", str(file))

    def verifies(self, raw: bytes, kind: str = "commit") -> bool:
        """Whether `git verify-commit`, or `git verify-tag`, exits 0."""
        return self.git(f"verify-{kind}", self.add(raw, kind)).returncode == 0
