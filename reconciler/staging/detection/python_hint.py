"""Find the Python that files meant for other tools name: version managers', and the image of a `Dockerfile`.

Such a Python is preferred and never required, as nothing else that these files say is followed.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from reconciler.linux.dataclass import dataclass
from reconciler.staging.errors import StagingError
from reconciler.staging.source.reading import source_text

# The surest first: what developers of the app run it with themselves, then what it is built on.
_VERSION_MANAGERS: Mapping[str, str] = MappingProxyType(
    {
        ".tool-versions": r"^python[ \t]+(\d+\.\d+)",
        "mise.toml": r"^python[ \t]*=[ \t]*[\"'](\d+\.\d+)",
        ".mise.toml": r"^python[ \t]*=[ \t]*[\"'](\d+\.\d+)",
    }
)
_DOCKERFILE = "Dockerfile"
_ARG = re.compile(r"^[ \t]*ARG[ \t]+(\w+)=[\"']?([^\s\"']+)", re.MULTILINE | re.IGNORECASE)
_FROM = re.compile(r"^[ \t]*FROM[ \t]+(?:--\S+[ \t]+)?(\S+)", re.MULTILINE | re.IGNORECASE)
_VARIABLE = re.compile(r"\$(?:\{(\w++)[^}]*+(?:\}|\Z)|(\w+))")
# `python:3.12-slim` of any registry, and images of more than Python: `uv:python3.12-bookworm-slim`.
_IMAGE = re.compile(r"(?:(?:^|/)python:|[:-]python-?)(3\.\d+)(?![\d])")


@dataclass(frozen=True, slots=True, kw_only=True)
class PythonHint:
    """A minor version of Python, `3.12`, and the file that names it."""

    version: str
    file: str


def python_hint(code: Path) -> PythonHint | None:
    """Return the Python that such a file at the top of the code names; None if none does."""
    return next(_hints(code), None)


def _hints(code: Path) -> Iterator[PythonHint]:
    for file, pattern in _VERSION_MANAGERS.items():
        found = re.search(pattern, _text(code / file), re.MULTILINE)
        if found is not None:
            yield PythonHint(version=found[1], file=file)
    image = _of_image(_text(code / _DOCKERFILE))
    if image is not None:
        yield PythonHint(version=image, file=_DOCKERFILE)


def _of_image(dockerfile: str) -> str | None:
    """Return the Python of the last stage that is built on one: it is what runs."""
    arguments = dict(_ARG.findall(dockerfile))
    images = [
        _VARIABLE.sub(lambda match: arguments.get(match[1] or match[2], ""), image)
        for image in _FROM.findall(dockerfile)
    ]
    found = [match[1] for image in images if (match := _IMAGE.search(image))]
    return found[-1] if found else None


def _text(path: Path) -> str:
    try:
        return source_text(path)
    except (OSError, StagingError):
        return ""
