"""Present bindings to apps: as variables of Cloud Foundry, and as files of the Service Binding specification.

VCAP_SERVICES has the keys of Cloud Foundry's first version and of today in one entry; the files are laid out as
servicebinding.io has it. See https://docs.cloudfoundry.org/devguide/deploy-apps/environment-variable.html#VCAP-SERVICES
and https://servicebinding.io/spec/core/1.1.0/#workload-projection.
"""

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import field
from pathlib import Path

from reconciler.linux.dataclass import dataclass
from reconciler.linux.files import replace_file, set_aside
from reconciler.planning.apps.revision import Bound
from reconciler.planning.fingerprint import Json
from reconciler.planning.services.service import directory_of

FILE_NAME = "vcap_services.json"
BINDINGS = "bindings"
# Linux's MAX_ARG_STRLEN: exec refuses a longer NAME=value, with its ending NUL.
_LONGEST_VARIABLE = 128 * 1024 - 1
_MOST_FILES = 2000  # of an app, which are written while nothing else is done
_OF_DATABASES = re.compile(r"(postgres|postgresql|mysql|mysql2|mariadb)://", re.IGNORECASE)
_UNFIT_KEY = re.compile(r"[^A-Za-z0-9_.-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenBinding:
    """A binding with its credentials."""

    bound: Bound
    credentials: Mapping[str, Json] = field(repr=False)

    @property
    def name(self) -> str:
        """The name by which the app knows it."""
        return self.bound.name or self.bound.service


@dataclass(frozen=True, slots=True, kw_only=True)
class BindingViews:
    """An app's view of its services. `whole` is VCAP_SERVICES as text, of any length."""

    whole: str = field(repr=False)
    database_url: str | None = field(default=None, repr=False)
    files: Mapping[str, Mapping[str, str]] = field(default_factory=dict, repr=False)

    @property
    def fits(self) -> bool:
        """Whether VCAP_SERVICES is short enough for an environment variable."""
        return len(f"VCAP_SERVICES={self.whole}".encode()) <= _LONGEST_VARIABLE

    def why_unfit(self) -> str:
        """Return why these are more than an app may have, "" if they are not."""
        files = sum(map(len, self.files.values()))
        return f"its services give {files} credentials, and {_MOST_FILES} are the most" if files > _MOST_FILES else ""


def shown(services: Iterable[OpenBinding]) -> BindingViews:
    """Return the views of these bindings, in this order."""
    opened = tuple(services)
    entries: dict[str, list[Json]] = {}
    for one in opened:
        entries.setdefault(one.bound.label, []).append(_entry(one))
    uris = (one.credentials.get("uri") for one in opened)
    url = next((uri for uri in uris if isinstance(uri, str) and _OF_DATABASES.match(uri)), None)
    return BindingViews(
        whole=json.dumps(entries, ensure_ascii=False),
        database_url=url,
        files={directory_of(one.name): _files(one) for one in opened},
    )


def _entry(one: OpenBinding) -> dict[str, Json]:
    bound = one.bound
    entry: dict[str, Json] = {
        "name": one.name,
        "label": bound.label,
        "tags": list(bound.tags),
        "plan": bound.plan,
        "credentials": dict(one.credentials),
        "instance_guid": bound.instance,
        "instance_name": bound.service,
        "binding_guid": bound.grant,
        "binding_name": bound.name,
        "syslog_drain_url": None,
        "volume_mounts": [],
    }
    if bound.type == "user-provided":
        del entry["plan"]
    return entry


def _files(one: OpenBinding) -> dict[str, str]:
    """Yield the files of a binding: `type`, `provider` and one per credential; values that are not text are JSON."""
    told = {
        key: given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)
        for key, given in one.credentials.items()
        if given is not None and _UNFIT_KEY.sub("", key) == key and not key.startswith(".")
    }
    return {**told, "type": str(one.credentials.get("type") or one.bound.type), "provider": "reconciler"}


def lay_out(told: BindingViews, directory: Path) -> None:
    """Write the files that VCAP_SERVICES_FILE_PATH and SERVICE_BINDING_ROOT name, for their owner alone.

    What is there already is left: it is of the same revision, so it says the same. Raises OSError.
    """
    root = directory / BINDINGS
    file = directory / FILE_NAME
    if file.exists():
        return
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory.chmod(0o700)
    set_aside(root)  # it is removed with the directory of the revision
    root.mkdir(mode=0o700)
    for folder, files in told.files.items():
        (root / folder).mkdir(mode=0o700)
        for name, content in files.items():
            _write(root / folder / name, content)
    # Last, and renamed into place: where it is, everything is.
    replace_file(file, told.whole, mode=0o400, durable=False)


def _write(file: Path, content: str) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o400)
    with open(descriptor, "w", encoding="utf-8") as opened:  # noqa: PTH123  a descriptor, not a path
        opened.write(content)
