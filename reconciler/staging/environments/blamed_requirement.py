"""Say of a failed installation which requirement is to blame, with its file and line, as far as the output names one.

The output is uv's or pip's; files are named relative to the code.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from reconciler.staging.detection.package_names import canonical
from reconciler.staging.errors import SourceError
from reconciler.staging.installer_output import error_block
from reconciler.staging.source.reading import source_text

_NAME = re.compile(r"""^\s*["']?(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)""")
_QUOTED_NAME = re.compile(r"""["'](?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)""")
_UNPARSED = re.compile(
    r"Couldn't parse requirement in `[^`]*` at position \d+\n\s*cause: (?P<cause>.*)\n\s*(?P<text>\S.*)"
)
_ONE_EQUALS_SIGN = re.compile(r"(?P<name>[A-Za-z0-9][\w.-]*(?:\[[^]]*\])?)\s*=\s*(?P<version>[\w.*+!-]+)")
_UNKNOWN = re.compile(r"Because (?P<name>[\w.-]++)\S*+ was not found in the package registry(?: and (?P<rest>[^,]*))?")
_NO_VERSION = re.compile(
    r"Because there (?:is no version|are no versions) of (?P<what>(?P<name>[A-Za-z0-9][\w.-]*)[^\s,]*)"
)
_NOT_FOUND = re.compile(r"No matching distribution found for (?P<name>[A-Za-z0-9][\w.-]*)(?P<version>\S*)")
_FROM_VERSIONS = re.compile(r"\(from versions: (.*)\)")
_RAISED = re.compile(r"^[ \t]*(\w*(?:Error|Exception): .*)$", re.MULTILINE)
_INCOMPATIBLE = re.compile(r"you require (?P<name>[\w.-]+?)(?:\[[^]]*\])?[<>=!~]\S* and \S+, which are incompatible")
_REQUIRED = re.compile(r"you require (?P<name>[A-Za-z0-9][\w.-]*)")
_BUILT = re.compile(r"Failed to build `(?P<name>[\w.-]+)==")
_UNSOLVED = "No solution found when resolving dependencies: "
_CONCLUSION = re.compile(r",? we can conclude that your requirements are unsatisfiable")
_NEXT = re.compile(r", we can conclude that .*?\.\s+And because ")


def blamed(output: Sequence[str], why: str, code: Path, files: Sequence[str]) -> str:
    """Return the failure with the places of the requirements to blame; "" if no requirement is.

    `why` is the failure in one line, and `files` are those that may hold requirements.
    """
    text = "\n".join(error_block(output) or output)
    if match := _UNPARSED.search(text):
        return _unparsed(match, code, files)
    if match := _UNKNOWN.search(text):
        by = match["rest"] or ""
        needed = "" if not by or "you require" in by else f" ({by})"
        return f"{_place(match['name'], code, files)}no package named '{match['name']}' in the registry{needed}"
    if match := _NO_VERSION.search(text):
        return f"{_place(match['name'], code, files)}there is no version of {match['what']} in the registry"
    if match := _NOT_FOUND.search(text):
        return f"{_place(match['name'], code, files)}{_not_found(match, output)}"
    if match := _BUILT.search(text):
        place = _place(match["name"], code, files)
        return f"{place}{why}" if place else ""
    names = [match["name"] for match in (_INCOMPATIBLE.search(text),) if match] or _REQUIRED.findall(text)
    if not names:
        return ""
    places = dict.fromkeys(place for place in (_place(name, code, files) for name in names) if place)
    told = _NEXT.sub("; because ", _CONCLUSION.sub("", why.removeprefix(_UNSOLVED)))
    return f"{', '.join(place.removesuffix(': ') for place in places)}: {told}" if places else told


def _not_found(match: "re.Match[str]", output: Sequence[str]) -> str:
    """Return why pip found no distribution: it says so of one that it cannot reach, or cannot build, as well."""
    requirement, text = f"{match['name']}{match['version']}", "\n".join(output)
    known = _FROM_VERSIONS.findall(text)[-1:]
    if known == ["none"] and "after connection broken by" in text:
        return f"the registry cannot be reached for {requirement}"
    if known and match["version"].removeprefix("==") in known[0].split(", "):
        errors = _RAISED.findall(text)
        return f"cannot build {requirement}{f': {errors[-1]}' if errors else ''}"
    what = f"version of {requirement}" if match["version"] else f"package '{match['name']}'"
    return f"no {what} in the registry for this Python"


def _unparsed(match: "re.Match[str]", code: Path, files: Sequence[str]) -> str:
    text = match["text"].strip()
    place = next((f"{file}:{number}: " for file, number, line in _lines(code, files) if line.startswith(text)), "")
    meant = _ONE_EQUALS_SIGN.fullmatch(text)
    remedy = f"write '{meant['name']}=={meant['version']}'" if meant else match["cause"].strip()
    return f"{place}'{text}' is not a requirement: {remedy}"


def _place(name: str, code: Path, files: Sequence[str]) -> str:
    """Return the file and line that require a package, "" if no line does so by itself."""
    wanted = canonical(name)
    for file, number, line in _lines(code, files):
        pattern = _QUOTED_NAME if file.endswith(".toml") else _NAME
        if any(canonical(match["name"]) == wanted for match in pattern.finditer(line)):
            return f"{file}:{number}: "
    return ""


def _lines(code: Path, files: Sequence[str]) -> Iterator[tuple[str, int, str]]:
    for file in files:
        try:
            lines = source_text(code / file).splitlines()
        except (OSError, SourceError):
            continue
        yield from ((file, number, line.strip()) for number, line in enumerate(lines, 1))
