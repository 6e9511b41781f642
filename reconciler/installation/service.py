"""How the daemon is to be a service in; files and directories of the host out, written below a root of one's choice.

What was written is remembered by its hash, so that a file somebody edited since is known, kept and said so.
"""

import contextlib
import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from string import Template

from reconciler.linux.files import replace_file

UNIT = Path("/etc/systemd/system/reconciler.service")
SETTINGS = Path("/etc/reconciler/host.yaml")
_REMEMBERED = ".installed.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """The service of one host. `owner` is the user's (uid, gid), None to leave ownership alone."""

    user: str
    manifests: Path
    state: Path
    command: str
    root: Path = Path("/")
    owner: tuple[int, int] | None = None

    def files(self) -> dict[Path, str]:
        """What stands in each file."""
        folder = files("reconciler.installation")
        unit = Template((folder / "reconciler.service.template").read_text(encoding="utf-8")).substitute(
            command=self.command, manifests=_quoted(self.manifests), state=_quoted(self.state), user=self.user
        )
        return {UNIT: unit, SETTINGS: (folder / "host.yaml.template").read_text(encoding="utf-8")}

    def install(self, *, force: bool, dry: bool) -> Iterator[str]:
        """Write what is missing or was written by an earlier version; yields a line for each thing done or kept.

        Raises OSError. Done again, it does nothing; ended half-way, the next time does the rest.
        """
        yield from self._directory(SETTINGS.parent, 0o755, dry, owned=False)
        yield from self._directory(self.manifests, 0o755, dry, owned=False)
        yield from self._directory(self.state, 0o700, dry, owned=True)
        hashes = self._hashes()
        for path, text in self.files().items():
            there = self._read(path)
            if there == text:
                yield f"as it should be: {path}"
            elif there is not None and not force and hashes.get(str(path)) != _hash(there):
                yield f"kept, because it was edited: {path} (--force overwrites it)"
                continue
            else:
                yield f"{'writes' if there is None else 'overwrites'} {path}"
                if not dry:
                    _write(self._at(path), text, 0o644)
            if not dry and hashes.get(str(path)) != _hash(text):
                hashes[str(path)] = _hash(text)
                _write(self._at(SETTINGS.parent / _REMEMBERED), json.dumps(hashes), 0o644)

    def uninstall(self, *, force: bool, dry: bool) -> Iterator[str]:
        """Remove the files that nobody edited; yields a line for each. Data stays. Raises OSError."""
        hashes = self._hashes()
        for path in self.files():
            there = self._read(path)
            if there is None:
                yield f"not there: {path}"
            elif not force and hashes.get(str(path)) != _hash(there):
                yield f"kept, because it was edited: {path} (--force removes it)"
            else:
                yield f"removes {path}"
                if not dry:
                    self._at(path).unlink()
        if not dry and not any(self._at(path).exists() for path in self.files()):
            self._at(SETTINGS.parent / _REMEMBERED).unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # something of the operator's is still in it
                self._at(SETTINGS.parent).rmdir()

    def _directory(self, path: Path, mode: int, dry: bool, *, owned: bool) -> Iterator[str]:
        at = self._at(path)
        if at.is_dir():
            yield f"as it should be: {path}/"
            return
        yield f"makes {path}/"
        if not dry:
            at.mkdir(parents=True)
            at.chmod(mode)
            if owned and self.owner is not None:
                shutil.chown(at, *self.owner)

    def _hashes(self) -> dict[str, str]:
        try:
            found = json.loads(self._at(SETTINGS.parent / _REMEMBERED).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return {str(name): str(value) for name, value in found.items()} if isinstance(found, dict) else {}

    def _read(self, path: Path) -> str | None:
        try:
            return self._at(path).read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return None

    def _at(self, path: Path) -> Path:
        return self.root / path.relative_to("/")


def _quoted(path: Path) -> str:
    """A path as systemd reads it: quotes, and no specifier or variable of its own."""
    text = str(path).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return text if text.replace("/", "").replace("-", "").replace("_", "").replace(".", "").isalnum() else f'"{text}"'


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _write(file: Path, text: str, mode: int) -> None:
    """The whole file or none of it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    replace_file(file, text, mode=mode)
