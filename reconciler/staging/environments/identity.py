"""Compute the key of an environment from what it is made from; equal keys mean interchangeable environments."""

import hashlib
import json
import os
import platform
import re
import subprocess
import sysconfig
from collections.abc import Mapping
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.linux.dataclass import dataclass
from reconciler.staging.detection.runtimes import Runtime
from reconciler.staging.errors import StagingError
from reconciler.vault.secret_patterns import is_secret_name

if TYPE_CHECKING:  # the installer's version needs nothing of what reads lock files
    from reconciler.staging.detection.dependencies import Dependencies

_INDEX_SETTINGS = frozenset(
    (
        *("UV_INDEX", "UV_DEFAULT_INDEX", "UV_EXTRA_INDEX_URL", "UV_INDEX_URL", "UV_FIND_LINKS", "UV_EXCLUDE_NEWER"),
        *("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS"),
    )
)
ISOLATION = "the isolation"
_CREDENTIALS = ("_USERNAME", "_PASSWORD")
_CREDENTIALS_IN_URL = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]{0,30}://)[^/\s@]+@", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingredients:
    """Everything that decides what is in an environment; `servers` are installed beside the app's own dependencies.

    `offline` is a digest of the packages in the app's source, "" if they come from an index. `pkg_resources` says that
    the code imports it, `variables` is a digest of those that decide what is installed, "" if there are none. `builds`
    says which code may have run in it before it was finished, "" where nothing keeps that apart.
    """

    runtime: Runtime
    dependencies: "Dependencies"
    servers: tuple[str, ...]
    installer: str
    indexes: str
    offline: str = ""
    pkg_resources: bool = False
    variables: str = ""
    builds: str = ""

    @property
    def facts(self) -> dict[str, str]:
        """The ingredients as text, by the name an operator knows them by; the key depends on these names."""
        return {
            "the interpreter": f"{self.runtime.path} {self.runtime.version}",
            "the platform": f"{sysconfig.get_platform()} {'-'.join(platform.libc_ver())}",
            "the installer": self.installer,
            "the index settings": self.indexes,
            "the server": " ".join(self.servers),
            "the dependency file": self.dependencies.file,
            **({"the bundled packages": self.offline} if self.offline else {}),
            **({"pkg_resources": "imported by the code"} if self.pkg_resources else {}),
            **({"the variables": self.variables} if self.variables else {}),
            **({ISOLATION: self.builds} if self.builds else {}),
            **self.dependencies.contents,
        }

    @property
    def key(self) -> str:
        """The key in the store, twenty hexadecimal digits."""
        return hashlib.sha256(json.dumps(self.facts, sort_keys=True).encode()).hexdigest()[:20]


def differences(new: Mapping[str, str], old: Mapping[str, str]) -> str:
    """Return what changed from `old` to `new`, in words."""
    changed = [name for name in {**new, **old} if new.get(name) != old.get(name)]
    return f"{', '.join(changed)} changed" if changed else "the previous one was incomplete"


def installer(uv: str) -> str:
    """Return the versions of uv and virtualenv. Blocks the first time, and after uv was replaced."""
    facts = Path(uv).stat()
    return _installer(uv, facts.st_mtime_ns, facts.st_ino)


def indexes(environ: Mapping[str, str]) -> str:
    """Return a digest of the index settings, without credentials: a new password makes no new environment."""
    settings = {
        name: _without_credentials(value)
        for name, value in environ.items()
        if (name in _INDEX_SETTINGS or name.startswith("UV_INDEX_")) and not name.endswith(_CREDENTIALS)
    }
    home = Path(environ.get("HOME") or os.devnull)
    for path in (home / ".config/uv/uv.toml", Path("/etc/uv/uv.toml")):
        try:
            settings[str(path)] = _without_credentials(path.read_text(encoding="utf-8", errors="replace"))
        except OSError:
            continue
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:20]


def variables_digest(found: "Dependencies", given: Mapping[str, str]) -> str:
    """Return a digest of the variables that requirements name, or code to build may read; "" if there are none.

    Raises StagingError if one that a requirement names is not given. Secrets are left out: a new password makes no new
    environment.
    """
    missing = [name for name in found.variables if name not in given]
    if missing:
        name = missing[0]
        raise StagingError(
            f"cannot install {found.variables[name]}: nothing gives ${{{name}}} a value;"
            " set it under `staging.env` in the host's settings"
        )
    deciding = given.keys() if found.trees else given.keys() & found.variables.keys()
    values = {name: _without_credentials(given[name]) for name in deciding if not is_secret_name(name)}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:20] if values else ""


def _without_credentials(text: str) -> str:
    """Return the text that environments are identified by; a change here would rebuild every environment."""
    return _CREDENTIALS_IN_URL.sub(r"\g<scheme>***@", text)


@lru_cache(maxsize=8)
def _installer(uv: str, _mtime_ns: int, _inode: int) -> str:
    answer = subprocess.run([uv, "--version"], capture_output=True, text=True, timeout=10, check=True)
    return f"{answer.stdout.split('(')[0].strip()}, virtualenv {installed_version('virtualenv')}"


def installed_version(package: str) -> str:
    """Return the version of a package of this Python, by the name of its directory of metadata where that is enough.

    What reads metadata loads the parser of e-mail, half a megabyte that an idle daemon would keep.
    """
    spec = find_spec(package)
    site = Path(spec.origin).parents[1] if spec is not None and spec.origin else None
    found = list(site.glob(f"{package}-*.dist-info")) if site is not None else []
    if len(found) == 1:
        return found[0].name.removeprefix(f"{package}-").removesuffix(".dist-info")
    from importlib.metadata import version

    return version(package)
