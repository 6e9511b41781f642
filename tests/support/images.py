"""The smallest image that an app's can be built upon, with nothing but the names of interpreters, and small images."""

import hashlib
import io
import json
import platform
import sys
import tarfile
from pathlib import Path
from typing import Any

from reconciler.staging.images.layers import Entry, write_layer
from reconciler.staging.images.layout import locked_layout, write_image

_OCI = "application/vnd.oci.image"
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}


def a_base(directory: Path, *minors: str) -> str:
    """Write a layout with such an image, and return its digest."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for minor in minors:
            archive.addfile(tarfile.TarInfo(f"usr/local/bin/python{minor}"))
    return _one_layer(directory, content, {"Env": ["PATH=/usr/local/bin:/usr/bin:/bin"]})


def image_of_tree(directory: Path, tree: Path, config: dict[str, Any]) -> str:
    """Write a layout with an image of all files of a tree, and return its digest."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        archive.add(tree, ".")
    return _one_layer(directory, content, config)


def _one_layer(directory: Path, content: io.BytesIO, config: dict[str, Any]) -> str:
    blobs = directory / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    layer = _put(blobs, content.getvalue(), f"{_OCI}.layer.v1.tar")
    told: dict[str, Any] = {
        "architecture": _MACHINES.get(platform.machine(), platform.machine()),
        "os": "linux",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
    }
    written = _put(blobs, json.dumps(told).encode(), f"{_OCI}.config.v1+json")
    kind = f"{_OCI}.manifest.v1+json"
    manifest = {"schemaVersion": 2, "mediaType": kind, "config": written, "layers": [layer]}
    image = _put(blobs, json.dumps(manifest).encode(), kind)
    (directory / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [image]}))
    (directory / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return str(image["digest"])


def _put(blobs: Path, content: bytes, kind: str) -> dict[str, Any]:
    digest = hashlib.sha256(content).hexdigest()
    (blobs / digest).write_bytes(content)
    return {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(content)}


def an_image(directory: Path, code: str = "x = 1\n", large: int = 300_000) -> str:
    """Write a layout with a layer that is large, and one of code; return its digest."""
    blobs = directory / "blobs" / "sha256"
    blobs.mkdir(parents=True, exist_ok=True)
    with locked_layout(directory):
        layers = [
            write_layer("environment", [Entry(path="lib", content=b"\1\2\3" * (large // 3))], blobs, "none"),
            write_layer("code", [Entry(path="wsgi.py", content=code.encode())], blobs, "gzip"),
        ]
        listed = [
            {"mediaType": each.media_type, "digest": f"sha256:{each.digest}", "size": each.size} for each in layers
        ]
        config = {"rootfs": {"type": "layers", "diff_ids": [f"sha256:{each.diff_id}" for each in layers]}}
        return write_image(directory, config, listed, "shop")


def whole_image(directory: Path) -> str:
    """Return the digest of the image of a layout, "" if there is none; fails unless all it refers to is as it says."""
    index = directory / "index.json"
    if not index.exists():
        return ""
    (image,) = json.loads(index.read_text())["manifests"]
    manifest = json.loads(_checked(directory, image))
    for each in (manifest["config"], *manifest["layers"]):
        _checked(directory, each)
    return str(image["digest"])


def _checked(directory: Path, told: dict[str, Any]) -> bytes:
    content: bytes = (directory / "blobs" / "sha256" / told["digest"].removeprefix("sha256:")).read_bytes()
    assert (f"sha256:{hashlib.sha256(content).hexdigest()}", len(content)) == (told["digest"], told["size"])
    return content


if __name__ == "__main__":
    an_image(Path(sys.argv[1]), sys.argv[2])
