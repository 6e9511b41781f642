"""Put an image together from a finished build: base, environment, code, and what starts it, the same bytes everywhere.

Nothing in it names this host: not its paths, users and times, and no secret.
"""

import hashlib
import json
import os
import platform
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from reconciler.host.builds import code_of
from reconciler.linux.dataclass import dataclass
from reconciler.linux.files import replacing
from reconciler.linux.package_files import package_directory
from reconciler.linux.regular_files import opened_file, read_file
from reconciler.planning.address import Address
from reconciler.planning.apps.app import App
from reconciler.planning.apps.revision import Revision, Source
from reconciler.serving.marks import REVISION_MARK
from reconciler.serving.programs.gunicorn import Code, InstancePaths, config_text
from reconciler.staging.errors import StagingError
from reconciler.staging.images.environment_layer import bill_of_materials, environment_entries, relocated
from reconciler.staging.images.layers import Compression, Entry, Layer, entries_of, write_layer
from reconciler.staging.images.layout import Base, base_in, locked_layout, write_image
from reconciler.staging.staged import Staged

_TOP, _CREATED = "reconciler", "1980-01-01T00:00:01Z"
_ENVIRONMENT, _CODE, _RUN = f"{_TOP}/environment", f"{_TOP}/code", f"{_TOP}/run"
_SCRATCH = "/tmp/reconciler"  # noqa: S108  in the image, where nothing else can be written
_READINESS = f"{_SCRATCH}/passed"
_USER = "65532:65532"  # as images without a root have it; no base has to know it
_PORT = 8000
_MOST_OF_OURS = 1 << 20
_OCI = "application/vnd.oci.image.layer.v1.tar"
_AS_OCI = {
    "application/vnd.docker.image.rootfs.diff.tar.gzip": f"{_OCI}+gzip",
    "application/vnd.docker.image.rootfs.diff.tar": _OCI,
}
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRequest:
    """Where an image is to be written, and upon which base: one in a layout, by its digest, "" for the only one."""

    output: Path
    base: Path
    base_digest: str = ""
    compression: Compression = "gzip"


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image that was written. `to_give` says what has to be given to it where it runs."""

    digest: str
    layers: tuple[Layer, ...]
    to_give: tuple[str, ...]


def write(request: ImageRequest, app: App, revision: Revision, staged: Staged) -> Image:
    """Write the image of a revision. Raises StagingError, OSError; blocks."""
    _require_fit(app, staged)
    minor = ".".join(staged.python_version.split(".")[:2])
    base = base_in(request.base, request.base_digest)
    wanted = _MACHINES.get(platform.machine(), platform.machine())
    if base.config.get("architecture") != wanted:
        raise StagingError(f"the base is for {base.config.get('architecture')}, the build for {wanted}")
    python = base.interpreter(minor)
    blobs = request.output / "blobs" / "sha256"
    blobs.mkdir(parents=True, exist_ok=True)
    with locked_layout(request.output):
        environment = environment_entries(Path(staged.environment), _ENVIRONMENT, python, minor, _moved(staged))
        layers = tuple(
            write_layer(role, entries, blobs, request.compression)
            for role, entries in (
                ("environment", environment),
                ("code", _code_entries(staged)),
                ("run", _run_entries(app, revision, staged)),
            )
        )
        shared = [_shared(base, layer, blobs) for layer in base.layers]
        own = [{"mediaType": each.media_type, "digest": f"sha256:{each.digest}", "size": each.size} for each in layers]
        digest = write_image(request.output, _config(base, app, revision, staged, layers), shared + own, app.name)
    return Image(digest=digest, layers=layers, to_give=_to_give(app))


def _require_fit(app: App, staged: Staged) -> None:
    if staged.command or not staged.python:
        what = staged.runtime or "another program"
        raise StagingError(f"an image holds an app of Python that gunicorn serves, and {app.name} runs on {what}")
    if app.recipe.persist:
        listed = ", ".join(app.recipe.persist)
        raise StagingError(f"no image keeps what {app.name} persists: {listed}; have it written to a service")
    if staged.python_version.split(".")[:1] == ["2"]:
        raise StagingError(f"an image needs Python 3.6 or newer, and {app.name} runs on {staged.python_version}")


def _moved(staged: Staged) -> dict[str, str]:
    return {staged.environment: f"/{_ENVIRONMENT}", f"{staged.directory}/code": f"/{_CODE}"}


def _there(path: str, staged: Staged) -> str:
    """Return where something of the build is in the image."""
    for before, after in _moved(staged).items():
        path = path.replace(before, after)
    return path


def _code_entries(staged: Staged) -> Iterator[Entry]:
    for entry in entries_of(Path(staged.directory, "code"), _CODE):
        if "__pycache__" not in entry.path.split("/"):
            yield relocated(entry, _moved(staged))
    yield Entry(path=_CODE)


def _run_entries(app: App, revision: Revision, staged: Staged) -> Iterator[Entry]:
    serving = package_directory("reconciler.serving")
    for file in sorted(serving.glob("gate*.py")):
        if file.name == "gate_figures_reader.py":  # of the daemon alone
            continue
        yield Entry(path=f"{_RUN}/{file.name}", content=read_file(file, _MOST_OF_OURS))
    for name in ("launcher.py", "image_start.py", "image_ready.py", "image_stop.py"):
        content = read_file(serving / name, _MOST_OF_OURS)
        yield Entry(path=f"{_RUN}/{name.removeprefix('image_')}", content=content)
    yield Entry(path=f"{_RUN}/packages.cdx.json", content=bill_of_materials(Path(staged.environment)))
    code = _code_there(staged)
    anywhere = _anywhere(revision)
    if app.recipe.web:
        text = config_text(anywhere, code, _paths(), app.workers).replace(str(serving), f"/{_RUN}")
        text = text.replace(anywhere.id, "the image")  # or each edit would bring all of these files anew
        yield Entry(path=f"{_RUN}/gunicorn.config", content=text.encode())
    told = {
        "app": app.name,
        "directory": code.directory,
        "target": code.target,
        "readiness": _READINESS,
        "environment": {**revision.env},
        "application": {
            "application_id": app.name,
            "application_name": app.name,
            "name": app.name,
            "process_type": "web",
            "uris": [],
        },
    }
    yield Entry(path=f"{_RUN}/image.json", content=json.dumps(told, sort_keys=True, indent=1).encode())


def _anywhere(revision: Revision) -> Revision:
    """Return the revision as it is wherever its source is: its id depends on what it holds alone."""
    here = Address(host="127.0.0.1", port=_PORT) if revision.build.recipe.web else None
    build = replace(revision.build, source=Source(path=""))
    return replace(revision, address=here, beside=None, build=build, bindings=())


def _code_there(staged: Staged) -> Code:
    code = code_of(staged)
    settings = {
        name: _there(value, staged) if isinstance(value, str) else value for name, value in code.settings.items()
    }
    return replace(
        code, directory=_there(code.directory, staged), python=_there(code.python, staged), settings=settings
    )


def _paths() -> InstancePaths:
    scratch = Path(_SCRATCH)
    return InstancePaths(
        revisions=scratch / "revisions",
        readiness=Path(_READINESS),
        home=scratch / "home",
        scratch=scratch,
        log=scratch / "log",
        access_log=scratch / "access",
        wakeup_file=scratch / "wakeup",
        foreground=True,
    )


def _shared(base: Base, layer: Mapping[str, Any], blobs: Path) -> dict[str, Any]:
    """Have a layer of the base among the blobs, and return what refers to it."""
    digest, kind = str(layer["digest"]), str(layer["mediaType"])
    source = base.blob(digest)
    target = blobs / source.name
    if not target.exists() or target.stat().st_size != layer["size"]:
        with replacing(target) as draft:
            try:
                os.link(source, draft)
            except OSError:
                shutil.copyfile(source, draft)
            with opened_file(draft) as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
            if f"sha256:{found}" != digest:
                raise StagingError(f"blob {digest} in {base.directory} is damaged: copy the base again")
    return {"mediaType": _AS_OCI.get(kind, kind), "digest": digest, "size": layer["size"]}


def _config(base: Base, app: App, revision: Revision, staged: Staged, layers: tuple[Layer, ...]) -> dict[str, Any]:
    inherited: dict[str, Any] = base.config.get("config") or {}
    environ = dict(each.split("=", 1) for each in inherited.get("Env") or ())
    environ["PATH"] = f"/{_ENVIRONMENT}/bin:{environ.get('PATH', '/usr/local/bin:/usr/bin:/bin')}"
    environ |= {"PYTHONUNBUFFERED": "1", "LANG": environ.get("LANG", "C.UTF-8"), REVISION_MARK: _anywhere(revision).id}
    labels = {
        **(inherited.get("Labels") or {}),
        "org.opencontainers.image.title": app.name,
        "org.opencontainers.image.base.digest": base.digest,
        "dev.reconciler.layers": json.dumps({each.role: f"sha256:{each.diff_id}" for each in layers}, sort_keys=True),
    }
    if revision.build.commit:
        labels["org.opencontainers.image.revision"] = revision.build.commit
    return {
        "architecture": base.config["architecture"],
        "os": base.config.get("os", "linux"),
        "created": _CREATED,
        "config": {
            "Env": [f"{name}={value}" for name, value in environ.items()],
            "Entrypoint": [f"/{_ENVIRONMENT}/bin/python", "-I", f"/{_RUN}/start.py"],
            "ExposedPorts": {f"{_PORT}/tcp": {}},
            "Labels": labels,
            "StopSignal": "SIGTERM",
            "User": _USER,
            "WorkingDir": _there(staged.code, staged),
        },
        "rootfs": {
            "type": "layers",
            "diff_ids": [*base.config["rootfs"]["diff_ids"], *(f"sha256:{each.diff_id}" for each in layers)],
        },
        "history": [
            *(base.config.get("history") or ()),
            *({"created": _CREATED, "created_by": f"reconciler image: {each.role}"} for each in layers),
        ],
    }


def _to_give(app: App) -> tuple[str, ...]:
    """Return what of the manifest is not in the image, as it is a secret or of the place where it runs."""
    variables = sorted(app.env_files)
    found = [f"the variable {name}" for name in variables]
    found += [f"the variables in {Path(path).name}" for path in app.env_lists]
    if app.bindings:
        listed = ", ".join(binding.service for binding in app.bindings)
        found.append(f"VCAP_SERVICES with the credentials of {listed}")
    if app.release is not None:
        found.append(f"its release command, once before it serves: {app.release}")
    return tuple(found)
