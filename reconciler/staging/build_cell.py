"""The cell in which code of an isolated app's packages is built: apart from the host, and from what other apps use.

What it writes is the app's own: a cache for what it fetches and builds, and a directory for temporary files.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from reconciler.linux.dataclass import dataclass
from reconciler.linux.files import make_below, remove
from reconciler.staging.command import Command, Confined
from reconciler.state.paths import OWN_CACHE

_SCRATCH = "tmp"


class Confines(Protocol):
    """Confines commands to what they are to see, and to what of that they may change."""

    def __call__(
        self, directory: str, *, visible: Sequence[str], writable: Sequence[str], cells: tuple[str, ...] = ()
    ) -> Confined:
        """Return what confines a command that begins in `directory`, and puts it into the control groups of `cells`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildCell:
    """The cell of an app, with a directory of its own on the file system of builds and environments."""

    app: str
    directory: Path
    confines: Confines

    @property
    def cache(self) -> Path:
        """The directory of what the app's installers have fetched and built."""
        return self.directory / OWN_CACHE

    @property
    def scratch(self) -> Path:
        """The directory of temporary files."""
        return self.directory / _SCRATCH

    def make(self) -> None:
        """Create its directories; that of temporary files is empty. Raises OSError; blocks."""
        remove(self.scratch)
        for name in (OWN_CACHE, _SCRATCH):
            make_below(self.directory, Path(name))

    def around(self, command: Command, *, visible: Sequence[str], writable: Sequence[Path]) -> Command:
        """Return a command as it runs in here: it sees these paths besides the system's, and may change some."""
        changed = (str(self.directory), *map(str, writable))
        return replace(
            command,
            environment={**command.environment, "TMPDIR": str(self.scratch)},
            confined=self.confines(command.directory, visible=visible, writable=changed),
        )


def seen_by_installers(environment: Mapping[str, str], host_files: Sequence[str]) -> tuple[str, ...]:
    """Return the files of the host that installers read: settings, passwords of indexes, certificates.

    `host_files` are those that the host's settings name besides.
    """
    named = ("NETRC", "SSL_CERT_FILE", "SSL_CERT_DIR", "SSL_CLIENT_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
    of_pip = ("PIP_CERT", "PIP_CLIENT_CERT")
    home = environment.get("HOME", "")
    own = (f"{home}/.netrc", f"{home}/.config/uv", "/etc/uv") if home else ("/etc/uv",)
    given = (environment[name] for name in (*named, *of_pip) if environment.get(name))
    return tuple(path for path in dict.fromkeys((*own, *given, *host_files)) if path.startswith("/"))
