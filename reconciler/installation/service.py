"""Install the daemon as a systemd service: its unit, that of its warden, its settings file and its directories.

The hash of each written file is recorded, so that a file that an operator has edited since is kept.
"""

import contextlib
import hashlib
import json
import shutil
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Literal, NamedTuple, TypeAlias

from reconciler.linux.dataclass import dataclass
from reconciler.linux.files import replace_file

UNIT = Path("/etc/systemd/system/reconciler.service")
WARDEN_UNIT = Path("/etc/systemd/system/reconciler-warden.service")
SETTINGS = Path("/etc/reconciler/host.yaml")
_HASHES = ".installed.json"


Change: TypeAlias = Literal["creates", "writes", "overwrites", "removes", "unchanged", "kept", "missing"]


class Step(NamedTuple):
    """What is done to a file or a directory; `hint` says how to have more done."""

    change: Change
    path: str
    hint: str = ""

    def __str__(self) -> str:
        if self.change in {"unchanged", "missing"}:
            return f"{self.change}: {self.path}"
        if self.change == "kept":
            return f"kept, because it was edited: {self.path} ({self.hint})"
        return f"{self.change} {self.path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """The service of one host. `owner` is the user's (uid, gid), None to leave owners as they are.

    `subgroups` says that systemd can start the daemon in a control group below the unit's own, so that the kernel
    gives controllers to the groups beside it. `app_users` says that a warden gives isolated apps users of their own:
    for that, the daemon may make namespaces and mounts.
    """

    user: str
    manifests: Path
    state: Path
    command: tuple[str, ...]
    root: Path = Path("/")
    subgroups: bool = False
    app_users: bool = False
    owner: tuple[int, int] | None = None

    def files(self) -> dict[Path, str]:
        """Return the content of each file."""
        folder = files("reconciler.installation")
        unit = Template((folder / "reconciler.service.template").read_text(encoding="utf-8")).substitute(
            command=" ".join(map(_quoted, self.command)),
            manifests=_quoted(self.manifests),
            state=_quoted(self.state),
            directory=str(self.state).replace("%", "%%"),  # to the end of the line, without quotes
            writable=_quoted(self.state).replace("$$", "$"),  # no variables here
            user=self.user,
            subgroup="\nDelegateSubgroup=daemon" if self.subgroups else "",
            warden=f" {WARDEN_UNIT.name}" if self.app_users else "",
            namespaces="user mnt ipc" if self.app_users else "yes",
            mounts=" @mount" if self.app_users else "",
        )
        warden = Template((folder / "reconciler-warden.service.template").read_text(encoding="utf-8")).substitute(
            command=" ".join(map(_quoted, self.command)), user=self.user
        )
        settings = (folder / "host.yaml.template").read_text(encoding="utf-8")
        return {UNIT: unit, **({WARDEN_UNIT: warden} if self.app_users else {}), SETTINGS: settings}

    def has_warden(self) -> bool:
        """Whether the warden's unit was installed before."""
        return self._at(WARDEN_UNIT).exists()

    def install(self, *, force: bool, dry: bool) -> Iterator[Step]:
        """Write what is missing or was written by an earlier version; yield each thing done or kept.

        Raises OSError. A second run changes nothing, and finishes a first one that was interrupted.
        """
        yield from self._directory(SETTINGS.parent, 0o755, dry, owned=False)
        yield from self._directory(self.manifests, 0o755, dry, owned=False)
        yield from self._directory(self.state, 0o700, dry, owned=True)
        hashes = self._hashes()
        for path, text in self.files().items():
            current = self._read(path)
            if current == text:
                yield Step("unchanged", str(path))
            elif current is not None and not force and hashes.get(str(path)) != _hash(current):
                yield Step("kept", str(path), "--force overwrites it")
                continue
            else:
                yield Step("writes" if current is None else "overwrites", str(path))
                if not dry:
                    _write(self._at(path), text, 0o644)
            if not dry and hashes.get(str(path)) != _hash(text):
                hashes[str(path)] = _hash(text)
                _write(self._at(SETTINGS.parent / _HASHES), json.dumps(hashes), 0o644)

    def uninstall(self, *, force: bool, dry: bool) -> Iterator[Step]:
        """Remove the files that were not edited; yield what becomes of each. Data stays. Raises OSError."""
        hashes = self._hashes()
        for path in self.files():
            current = self._read(path)
            if current is None:
                yield Step("missing", str(path))
            elif not force and hashes.get(str(path)) != _hash(current):
                yield Step("kept", str(path), "--force removes it")
            else:
                yield Step("removes", str(path))
                if not dry:
                    self._at(path).unlink()
        if not dry and not any(self._at(path).exists() for path in self.files()):
            self._at(SETTINGS.parent / _HASHES).unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # something of the operator's is still in it
                self._at(SETTINGS.parent).rmdir()

    def _directory(self, path: Path, mode: int, dry: bool, *, owned: bool) -> Iterator[Step]:
        at = self._at(path)
        if at.is_dir():
            yield Step("unchanged", f"{path}/")
            return
        yield Step("creates", f"{path}/")
        if not dry:
            at.mkdir(parents=True)
            at.chmod(mode)
            if owned and self.owner is not None:
                shutil.chown(at, *self.owner)

    def _hashes(self) -> dict[str, str]:
        try:
            found = json.loads(self._at(SETTINGS.parent / _HASHES).read_text(encoding="utf-8"))
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


def _quoted(path: Path | str) -> str:
    """Quote a path for systemd, so that nothing in it is a specifier or a variable."""
    text = str(path).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return text if text.replace("/", "").replace("-", "").replace("_", "").replace(".", "").isalnum() else f'"{text}"'


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _write(file: Path, text: str, mode: int) -> None:
    """Replace a file, its directory created if it is missing."""
    file.parent.mkdir(parents=True, exist_ok=True)
    replace_file(file, text, mode=mode)
