"""Turn an environment into the entries of a layer, at one place for every host, run by the Python of the base.

Paths of this host are replaced in every text, and scripts begin as if they had been installed there; a file with such a
path that is no text is refused. Bytecode is left out: its bytes differ from one compilation to the next.
"""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from email.parser import HeaderParser
from pathlib import Path

from reconciler.linux.regular_files import read_file
from reconciler.staging.errors import StagingError
from reconciler.staging.images.layers import Entry, entries_of

_LEFT_OUT = frozenset(("finished.json", "files.txt", "CACHEDIR.TAG", "pyvenv.cfg", "include", ".lock"))
_MOST_BYTES = 8 << 30  # a library for graphics cards has one or two
_MOST_OF_A_LIST = 64 << 20
# What an installer notes of this host, and of the time.
_NOTES = frozenset(("direct_url.json", "uv_cache.json", "uv_build.json"))
# How installers begin a script whose interpreter has a path that no first line can hold: a long one, or with blanks.
_BY_SHELL = re.compile(rb"""\A#!/bin/sh\n'''exec' (["']?)(/[^\s"']{1,100}+)\1 "\$0" "\$@"\n' '''\n""")


def environment_entries(directory: Path, below: str, python: str, minor: str, moved: dict[str, str]) -> Iterator[Entry]:
    """Yield the entries of an environment below `below`, run by `python`. Raises StagingError, OSError.

    `moved` are directories of this host with the paths that they have in the image.
    """
    for entry in entries_of(directory, below):
        path = entry.path.removeprefix(f"{below}/")
        if _is_left_out(path):
            continue
        if path.startswith("bin/python"):
            continue
        yield relocated(entry, moved) if not path.endswith(".dist-info/RECORD") else _record(entry)
    for name in ("python", "python3", f"python{minor}"):
        yield Entry(path=f"{below}/bin/{name}", link=python)
    config = f"home = {Path(python).parent}\ninclude-system-site-packages = false\nversion = {minor}\n"
    yield Entry(path=f"{below}/pyvenv.cfg", content=config.encode())


def relocated(entry: Entry, moved: dict[str, str]) -> Entry:
    """Return an entry with the paths of this host replaced. Raises StagingError, OSError."""
    if entry.link is not None:
        for before, after in moved.items():
            if entry.link == before or entry.link.startswith(f"{before}/"):
                return replace(entry, link=after + entry.link.removeprefix(before))
        if entry.link.startswith("/"):
            raise StagingError(f"an image cannot hold {entry.path}: it is a link to {entry.link} on this host")
        return entry
    if entry.source is None:
        return entry
    content = found = read_file(entry.source, _MOST_BYTES)
    for before, after in moved.items():
        if os.fsencode(before) in content:
            if b"\0" in content:
                raise StagingError(f"an image cannot hold {entry.path}: {before} on this host is compiled into it")
            content = content.replace(os.fsencode(before), os.fsencode(after))
    if content is found:
        return entry
    return replace(entry, source=None, content=_BY_SHELL.sub(rb"#!\2\n", content))


def bill_of_materials(directory: Path) -> bytes:
    """Return the packages of an environment as a CycloneDX document, the same for the same packages."""
    found = sorted(_packages(directory))
    components = [
        {"type": "library", "name": name, "version": version, "purl": f"pkg:pypi/{name.lower()}@{version}"}
        for name, version in found
    ]
    document = {"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "components": components}
    return json.dumps(document, sort_keys=True, indent=1).encode()


def _packages(directory: Path) -> Iterator[tuple[str, str]]:
    for file in directory.glob("lib/python*/site-packages/*.dist-info/METADATA"):
        headers = HeaderParser().parsestr(read_file(file, _MOST_OF_A_LIST).decode("utf-8", "replace"), headersonly=True)
        if headers["Name"] and headers["Version"]:
            yield str(headers["Name"]), str(headers["Version"])


def _is_left_out(path: str) -> bool:
    name = path.rpartition("/")[2]
    return (
        path in _LEFT_OUT
        or path.startswith(("include/", "bin/activate", "bin/deactivate", "__pycache__/"))
        or name == "__pycache__"
        or "/__pycache__/" in path
        or name in _NOTES
    )


def _record(entry: Entry) -> Entry:
    """Return a list of installed files without those whose bytes name this host, or that are not in the image."""
    assert entry.source is not None
    lines = read_file(entry.source, _MOST_OF_A_LIST).decode("utf-8", "surrogateescape").splitlines(keepends=True)
    files = ((line, line.partition(",")[0].strip('"')) for line in lines)
    kept = (line for line, file in files if not file.startswith(("../", "/")) and not _is_left_out(file))
    return replace(entry, source=None, content="".join(kept).encode("utf-8", "surrogateescape"))
