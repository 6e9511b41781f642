"""A bare repository of a test's own, and what people push to it: git as a user runs it, and nothing of ours."""

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.support.signing import Key


def signing(key: Key | None) -> tuple[str, ...]:
    """The options with which git signs commits with an ssh key."""
    if key is None:
        return ()
    options = ("gpg.format=ssh", f"user.signingKey={key.file}", "commit.gpgSign=true")
    return tuple(word for option in options for word in ("-c", option))


_PERSON = {
    "GIT_AUTHOR_NAME": "Alice", "GIT_AUTHOR_EMAIL": "alice@example.com",
    "GIT_COMMITTER_NAME": "Alice", "GIT_COMMITTER_EMAIL": "alice@example.com",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Repository:
    """`bare` is what hosts fetch from, `work` where a person works."""

    bare: Path
    work: Path

    @classmethod
    def at(cls, root: Path, name: str = "fleet") -> "Repository":
        found = cls(root / f"{name}.git", root / f"{name}-work")
        found.git("init", "-q", "--bare", "-b", "main", str(found.bare), at=root)
        found.git("init", "-q", "-b", "main", str(found.work), at=root)
        found.git("config", "receive.denyDeleteCurrent", "ignore", at=found.bare)
        found.git("remote", "add", "origin", str(found.bare))
        return found

    def git(self, *words: str, at: Path | None = None, env: Mapping[str, str] | None = None, given: bytes = b"") -> str:
        """Run git as a person does, without that person's own settings; its output."""
        done = subprocess.run(
            ["git", *words], cwd=at or self.work, input=given, capture_output=True, timeout=60, check=False,
            env={
                **{k: v for k, v in os.environ.items() if not k.startswith("GIT_")}, **_PERSON,
                "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1", **(env or {}),
            },
        )  # fmt: skip
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode().strip()

    def write(self, files: Mapping[str, str | bytes | None]) -> None:
        """Write files into the work tree; None removes one."""
        for name, content in files.items():
            path = self.work / name
            if content is None:
                path.unlink()
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())

    def commit(
        self,
        files: Mapping[str, str | bytes | None],
        message: str = "Change it",
        *,
        key: Key | None = None,
        at: str = "",
    ) -> str:
        """Commit files, signed with a key if one is given, and dated back to a time; the commit's id."""
        self.write(files)
        self.git("add", "-A")
        dated = {"GIT_AUTHOR_DATE": at, "GIT_COMMITTER_DATE": at} if at else {}
        self.git(*signing(key), "commit", "-q", "--allow-empty", "-m", message, env=dated)
        return self.git("rev-parse", "HEAD")

    def push(
        self,
        files: Mapping[str, str | bytes | None],
        message: str = "Change it",
        *,
        key: Key | None = None,
        at: str = "",
    ) -> str:
        """Commit files and push them; the commit's id."""
        commit = self.commit(files, message, key=key, at=at)
        self.git("push", "-q", "origin", "HEAD:main")
        return commit
