"""Names of lock files, with the file of the project that each is made from; no format is loaded for them."""

from collections.abc import Mapping
from types import MappingProxyType

PROJECTS: Mapping[str, str] = MappingProxyType({
    "uv.lock": "pyproject.toml",
    "pylock.toml": "pyproject.toml",
    "poetry.lock": "pyproject.toml",
    "Pipfile.lock": "Pipfile",
})  # fmt: skip
