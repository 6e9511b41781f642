"""Read and write images in a directory as the OCI image layout has it, by digest.

See https://github.com/opencontainers/image-spec/blob/v1.1.0/image-layout.md.
"""

import hashlib
import json
import os
import re
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from reconciler.linux.dataclass import dataclass
from reconciler.linux.file_lock import try_lock
from reconciler.linux.files import replace_file
from reconciler.linux.regular_files import read_file
from reconciler.staging.errors import StagingError

_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_INDEX = "application/vnd.oci.image.index.v1+json"
_MOST_BYTES = 8 << 20
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_MANIFESTS = frozenset((_MANIFEST, "application/vnd.docker.distribution.manifest.v2+json"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """An image to build upon: what its configuration says, and its layers as its manifest lists them."""

    directory: Path
    digest: str
    config: Mapping[str, Any]
    layers: tuple[Mapping[str, Any], ...]

    def blob(self, digest: str) -> Path:
        """Return the file of a blob. Raises StagingError."""
        return blob_of(self.directory, digest)

    def interpreter(self, minor: str) -> str:
        """Return the path of this Python in the image. Raises StagingError."""
        wanted = [f"usr/local/bin/python{minor}", f"usr/bin/python{minor}", f"opt/python/bin/python{minor}"]
        found = {name for layer in self.layers for name in self._names(str(layer["digest"]), frozenset(wanted))}
        for path in wanted:
            if path in found:
                return f"/{path}"
        listed = " and ".join(f"/{path}" for path in wanted[:2])
        raise StagingError(f"the base has no Python {minor}: looked for {listed}; choose a base with that Python")

    def _names(self, digest: str, wanted: frozenset[str]) -> Iterator[str]:
        try:
            with tarfile.open(self.blob(digest), "r|*") as archive:
                for member in archive:
                    name = member.name.removeprefix("./").lstrip("/")
                    if name in wanted:
                        yield name
        except (tarfile.TarError, EOFError, OSError) as error:
            raise StagingError(f"cannot read layer {digest} of the base: {error}") from error


def base_in(directory: Path, digest: str) -> Base:
    """Return the image of a digest in a layout, "" for the only one there. Raises StagingError."""
    try:
        index = json.loads(read_file(directory / "index.json", _MOST_BYTES))
        known = [str(each["digest"]) for each in index["manifests"]]
        if not digest and len(known) != 1:
            raise StagingError(
                f"{directory} has {len(known)} images: name one by its digest, as in {directory}@sha256:…"
            )
        chosen = digest or known[0]
        manifest = _document(directory, chosen)
        if manifest.get("mediaType", _MANIFEST) not in _MANIFESTS or "layers" not in manifest:
            raise StagingError(f"{chosen} in {directory} is not an image of one platform: copy one of its images there")
        config = _document(directory, str(manifest["config"]["digest"]))
        if config["rootfs"]["type"] != "layers" or len(config["rootfs"]["diff_ids"]) != len(manifest["layers"]):
            raise StagingError(f"the configuration of {chosen} in {directory} does not fit its layers")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StagingError(f"cannot read the base in {directory}: {error}") from error
    return Base(directory=directory, digest=chosen, config=config, layers=tuple(manifest["layers"]))


def manifest_in(directory: Path, digest: str) -> Mapping[str, Any]:
    """Return the manifest of the image that a layout has now. Raises StagingError, also where that is another one."""
    try:
        index = json.loads(read_file(directory / "index.json", _MOST_BYTES))
        if [each["digest"] for each in index["manifests"]] != [digest]:
            raise StagingError(f"another command has replaced the image in {directory}")
        return _document(directory, digest)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StagingError(f"cannot read the image in {directory}: {error}") from error


@contextmanager
def locked_layout(directory: Path) -> Iterator[None]:
    """Keep a layout from every other command meanwhile. Raises StagingError if one has it, OSError."""
    lock = try_lock(directory / ".lock")
    if lock is None:
        raise StagingError(f"another command uses {directory}: wait until it has ended, or name another directory")
    try:
        yield
    finally:
        (directory / ".lock").unlink(missing_ok=True)
        os.close(lock)


def blob_of(directory: Path, digest: str) -> Path:
    """Return the file of a blob. Raises StagingError for what is no digest."""
    match = _DIGEST.fullmatch(digest)
    if match is None:
        raise StagingError(f"'{digest}' is no digest: expected sha256: and 64 hexadecimal digits")
    return directory / "blobs" / "sha256" / match[1]


def _document(directory: Path, digest: str) -> dict[str, Any]:
    content = read_file(blob_of(directory, digest), _MOST_BYTES)
    if f"sha256:{hashlib.sha256(content).hexdigest()}" != digest:
        raise StagingError(f"blob {digest} in {directory} is damaged: copy the base again")
    found: dict[str, Any] = json.loads(content)
    return found


def write_document(blobs: Path, document: Mapping[str, Any], media_type: str) -> dict[str, Any]:
    """Write a document as a blob, and return what refers to it."""
    content = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
    digest = hashlib.sha256(content).hexdigest()
    replace_file(blobs / digest, content, mode=0o644)
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}


def write_image(directory: Path, config: Mapping[str, Any], layers: list[dict[str, Any]], name: str) -> str:
    """Write configuration, manifest and index of an image whose layers are there; return its digest.

    The index comes last, when all else is on the disk: a layout that has it is complete, also after a power cut. It has
    this image and no other.
    """
    blobs = directory / "blobs" / "sha256"
    written = write_document(blobs, config, _CONFIG)
    manifest = {"schemaVersion": 2, "mediaType": _MANIFEST, "config": written, "layers": layers}
    image = write_document(blobs, manifest, _MANIFEST)
    named = {**image, "annotations": {"org.opencontainers.image.ref.name": name}}
    replace_file(directory / "oci-layout", json.dumps({"imageLayoutVersion": "1.0.0"}), mode=0o644, durable=False)
    index = {"schemaVersion": 2, "mediaType": _INDEX, "manifests": [named]}
    replace_file(directory / "index.json", json.dumps(index, sort_keys=True), mode=0o644)
    _keep_only(blobs, {str(each["digest"]) for each in (*layers, written, image)})
    return str(image["digest"])


def _keep_only(blobs: Path, digests: set[str]) -> None:
    """Remove the blobs of an earlier image."""
    for file in blobs.iterdir():
        if f"sha256:{file.name}" not in digests:
            with suppress(OSError):
                file.unlink()
