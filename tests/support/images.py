"""The smallest image that an app's can be built upon: it has nothing but the names of interpreters."""

import hashlib
import io
import json
import platform
import tarfile
from pathlib import Path
from typing import Any

_OCI = "application/vnd.oci.image"
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}


def a_base(directory: Path, *minors: str) -> str:
    """Write a layout with such an image, and return its digest."""
    blobs = directory / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for minor in minors:
            archive.addfile(tarfile.TarInfo(f"usr/local/bin/python{minor}"))
    layer = _put(blobs, content.getvalue(), f"{_OCI}.layer.v1.tar")
    told: dict[str, Any] = {
        "architecture": _MACHINES.get(platform.machine(), platform.machine()),
        "os": "linux",
        "config": {"Env": ["PATH=/usr/local/bin:/usr/bin:/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
    }
    config = _put(blobs, json.dumps(told).encode(), f"{_OCI}.config.v1+json")
    kind = f"{_OCI}.manifest.v1+json"
    manifest = {"schemaVersion": 2, "mediaType": kind, "config": config, "layers": [layer]}
    image = _put(blobs, json.dumps(manifest).encode(), kind)
    (directory / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [image]}))
    return str(image["digest"])


def _put(blobs: Path, content: bytes, kind: str) -> dict[str, Any]:
    digest = hashlib.sha256(content).hexdigest()
    (blobs / digest).write_bytes(content)
    return {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(content)}
