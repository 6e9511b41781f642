"""Read what a Dockerfile starts, with its paths in the image as those of the source that it copies there."""

import json
import posixpath
import re
import shlex
from collections.abc import Iterator, Mapping

from reconciler.inspection.imports.ledger import Item

_INSTRUCTION = re.compile(r"\s*([A-Za-z]+)\s+(.*)")
_INITS = frozenset(("tini", "dumb-init", "catatonit"))


def dockerfile_commands(file: str, text: str) -> list[Item]:
    """Return what the last CMD runs behind the ENTRYPOINT, and by itself: an ENTRYPOINT often only starts it."""
    found: dict[str, tuple[int, str]] = {}
    stages: dict[str, tuple[dict[str, str], str]] = {}
    copied: dict[str, str] = {}
    directory = stage = "/"
    for number, word, rest in _instructions(text):
        if word in {"CMD", "ENTRYPOINT"}:
            found[word] = number, rest
        elif word == "FROM":
            stages[stage] = copied, directory
            image, _, stage = rest.lower().partition(" as ")
            known, directory = stages.get(image.strip(), ({}, "/"))
            copied, stage = dict(known), stage.strip()
        elif word == "WORKDIR":
            directory = posixpath.join(directory, rest)
        elif word in {"COPY", "ADD"}:
            copied.update(_copied(rest, directory))
    if not found:
        return []
    line = found.get("CMD", found.get("ENTRYPOINT", (1, "")))[0]
    below = _source_of(directory, copied) or ""
    own = [_words(found[name][1], copied, below) for name in ("ENTRYPOINT", "CMD") if name in found]
    entered = f"cd {below} && " if below else ""
    texts = dict.fromkeys(f"{entered}{text}" for text in (" ".join(own), own[-1]))
    return [Item(file=file, line=line, column=1, path=("CMD",), value=each, sign=" ") for each in texts]


def _instructions(text: str) -> Iterator[tuple[int, str, str]]:
    """Yield the instructions with their lines; one that goes on in further lines has its first."""
    pending, first = "", 1
    for number, line in enumerate(text.split("\n"), 1):
        if line.lstrip().startswith("#"):
            continue
        first = number if not pending else first
        if line.rstrip().endswith("\\"):
            pending += f"{line.rstrip()[:-1]} "
            continue
        found, pending = _INSTRUCTION.fullmatch(f"{pending}{line}".strip()), ""
        if found is not None:
            yield first, found[1].upper(), found[2].strip()


def _copied(rest: str, directory: str) -> Iterator[tuple[str, str]]:
    """Yield where a file or directory of the source is in the image."""
    words = _listed(rest) or rest.split()
    names = [word for word in words if not word.startswith("--")]
    if len(names) != 2 or any(word.startswith("--from") for word in words):
        return
    source, target = names
    target = posixpath.normpath(posixpath.join(directory, target)) + ("/" if names[1].endswith("/") else "")
    if target.endswith("/") and posixpath.splitext(source)[1]:
        target += posixpath.basename(source)
    yield target.rstrip("/") or "/", posixpath.normpath(source).removeprefix("./").lstrip("/")


def _source_of(path: str, copied: Mapping[str, str]) -> str | None:
    """Return the path in the source that is at an absolute path of the image; None if none is."""
    path = posixpath.normpath(path)
    for target in sorted(copied, key=len, reverse=True):
        if path == target or path.startswith(f"{target.rstrip('/')}/"):
            below = posixpath.relpath(path, target)
            joined = posixpath.normpath(posixpath.join(copied[target], below))
            return "" if joined == "." else joined
    return None


def _words(text: str, copied: Mapping[str, str], below: str) -> str:
    """Return a command as one line, its scripts as they are in the source, seen from a directory of it."""
    words = _listed(text)
    if words is None:
        return " ".join(_as_in_source(word, copied, below) for word in text.split(" "))
    if words and posixpath.basename(words[0]) in _INITS:
        words = words[words.index("--") + 1 :] if "--" in words else [w for w in words[1:] if not w.startswith("-")]
    return shlex.join(_as_in_source(word, copied, below) for word in words)


def _as_in_source(word: str, copied: Mapping[str, str], below: str) -> str:
    known = _source_of(word, copied) if word.startswith("/") else None
    if not known or not known.endswith((".sh", ".bash")):
        return word
    name = posixpath.relpath(known, below or ".")
    return name if name.startswith("../") else f"./{name}"


def _listed(text: str) -> list[str] | None:
    try:
        parts = json.loads(text)
    except ValueError:
        return None
    return [str(part) for part in parts] if isinstance(parts, list) else None
