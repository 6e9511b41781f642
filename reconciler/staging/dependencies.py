"""An app's code in, the one file that says what it depends on, and everything that file draws in, out.

What decides about the environment is all in `contents`: two apps whose contents are equal can share one.
What would make an environment depend on more than that (paths into the code, which moves) is refused.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from reconciler.staging.failure import StagingError
from reconciler.staging.pinned import project_table, pyproject

_NOT_YET = ("uv.lock", "pylock.toml", "poetry.lock", "Pipfile.lock", "Pipfile", "setup.py")
_LOCKS = frozenset(_NOT_YET[:4])
_OPTION = re.compile(
    r"(?P<name>-r|--requirement|-c|--constraint|-e|--editable|-f|--find-links)(?:\s+|=|(?<=^-\w))(?P<value>\S+)"
)
_LOCAL = re.compile(r"^(?:\.{0,2}/|\.{1,2}$|\.\[|file:)|@\s*(?:file:|\.{0,2}/)|\.(?:whl|zip|tar\.gz)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependencies:
    """`file` relative to the code, "" for none; `contents` a digest of each thing that matters, by its name."""

    file: str
    contents: Mapping[str, str]


def dependencies(code: Path, asked: str | None) -> Dependencies:
    """The dependency file the manifest names, else the one there is; StagingError when that is not exactly one."""
    file = asked if asked is not None else _only(code)
    if file == "":
        return Dependencies(file="", contents=_configuration(code))
    path = code / file
    if not path.is_file():
        raise StagingError(f"cannot find the dependencies: there is no {file} in the source")
    if path.name in _NOT_YET:
        raise StagingError(
            f"cannot install from {file}: it is not supported yet, use requirements.txt or pyproject.toml"
        )
    contents = _project(path.parent) if path.name == "pyproject.toml" else _requirements(code, path)
    return Dependencies(file=file, contents={**contents, **_configuration(code)})


def has_own_configuration(code: Path) -> bool:
    """Whether the code configures uv itself (indexes, constraints)."""
    return (code / "uv.toml").is_file() or "uv" in pyproject(code).get("tool", {})


def _only(code: Path) -> str:
    first = [name for name in ("requirements.txt", *_NOT_YET) if (code / name).is_file()]
    locks = [name for name in first if name in _LOCKS or name == "requirements.txt"]
    if len(locks) > 1:
        raise StagingError(
            f"cannot choose between {' and '.join(locks)}: name one in `dependencies`, or remove the other"
        )
    if locks:
        if locks[0] in _LOCKS:
            raise StagingError(
                f"cannot install from {locks[0]}: it is not supported yet;"
                " export it to requirements.txt, or set `dependencies: pyproject.toml` to do without the lock"
            )
        return locks[0]
    if project_table(code):
        return "pyproject.toml"
    if first:
        raise StagingError(
            f"cannot install from {first[0]}: it is not supported yet; list the dependencies in requirements.txt"
        )
    return ""


def _requirements(code: Path, start: Path) -> dict[str, str]:
    contents: dict[str, str] = {}
    waiting = [start]
    while waiting:
        path = waiting.pop()
        name = path.relative_to(code).as_posix()
        if name in contents:
            continue
        try:
            text = path.read_text(encoding="utf-8-sig")
        except (OSError, ValueError) as error:
            raise StagingError(f"cannot read {name}: {error}") from error
        contents[name] = _digest(text)
        for line in text.replace("\\\n", " ").splitlines():
            drawn_in = _drawn_in(re.sub(r"(^|\s)#.*", "", line).strip(), name)
            if drawn_in is not None:
                nested = (path.parent / drawn_in).resolve()
                if not nested.is_relative_to(code.resolve()):
                    raise StagingError(f"cannot follow {drawn_in} in {name}: it is outside the source")
                waiting.append(code / nested.relative_to(code.resolve()))
    return contents


def _drawn_in(line: str, name: str) -> str | None:
    """The file a line includes; None for a requirement or any other option."""
    option = _OPTION.match(line)
    if option is None:
        requirement = re.split(r";| --", line)[0].strip()
        remote = "://" in requirement and "file:" not in requirement
        if not line.startswith("-") and not remote and _LOCAL.search(requirement):
            raise _refused(line, name)
        return None
    value = option["value"]
    if option["name"] in {"-e", "--editable"} or (option["name"] in {"-f", "--find-links"} and "://" not in value):
        raise _refused(line, name)
    return None if "://" in value or option["name"] in {"-f", "--find-links"} else value


def _refused(line: str, name: str) -> StagingError:
    return StagingError(
        f"cannot install `{line}` of {name}: local paths are not supported yet;"
        " the app's own directory can be imported from without it"
    )


def _project(directory: Path) -> dict[str, str]:
    project = project_table(directory)
    if not project:
        raise StagingError("cannot install from pyproject.toml: it has no [project] table")
    if "dependencies" in project.get("dynamic", ()):
        raise StagingError("cannot install from pyproject.toml: dynamic dependencies are not supported yet, list them")
    for package, sources in pyproject(directory).get("tool", {}).get("uv", {}).get("sources", {}).items():
        if any({"path", "workspace"} & set(source) for source in (sources if isinstance(sources, list) else [sources])):
            raise StagingError(f"cannot install {package} from tool.uv.sources: local paths are not supported yet")
    return {"pyproject.toml": _digest(json.dumps([project.get("dependencies", []), project.get("requires-python")]))}


def _configuration(code: Path) -> dict[str, str]:
    """What the code says to uv about indexes and sources, which decides about the environment as well."""
    contents = {}
    own = pyproject(code).get("tool", {}).get("uv")
    if own:
        contents["tool.uv of pyproject.toml"] = _digest(json.dumps(own, sort_keys=True, default=str))
    if (code / "uv.toml").is_file():
        contents["uv.toml"] = _digest((code / "uv.toml").read_text(encoding="utf-8", errors="replace"))
    return contents


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
