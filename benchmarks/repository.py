"""A bare git repository, and what is pushed to it, for benchmarks of apps that come from one."""

import subprocess
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Repository:
    """A bare repository, and a work tree from which it is pushed to."""

    directory: Path
    bare: Path = field(init=False)
    work: Path = field(init=False)

    def __post_init__(self) -> None:
        self.bare, self.work = self.directory / "code.git", self.directory / "work"
        self._git("init", "-q", "--bare", "-b", "main", str(self.bare), at=self.directory)
        self._git("init", "-q", "-b", "main", str(self.work), at=self.directory)

    def push(self, files: dict[str, str]) -> None:
        """Commit files and push them."""
        for name, text in files.items():
            path = self.work / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self._git("add", "-A", at=self.work)
        person = ("-c", "user.name=Alice", "-c", "user.email=alice@example.com")
        self._git(*person, "commit", "-q", "-m", "Change it", at=self.work)
        self._git("push", "-q", str(self.bare), "HEAD:main", at=self.work)

    def _git(self, *words: str, at: Path) -> None:
        subprocess.run(["git", *words], cwd=at, check=True, stdout=subprocess.DEVNULL)
