"""Input that users write is accepted or refused: inputs that once failed, and generated ones, on every run.

`make fuzz` finds the former with atheris; this needs only hypothesis.
"""

import io
import json
import os
import re
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.staging.detection.lockfiles.registry import LOCK_FORMATS
from tests.fuzz.__main__ import CORPUS
from tests.fuzz.one import bounded, replay
from tests.fuzz.targets import TARGETS

_CORPUS = sorted(CORPUS.glob("*/*"))
_AIMED, _NOISE = (2000, 20_000) if os.environ.get("RECONCILER_TESTS") == "nightly" else (15, 40)
_LONGEST = 64 * 1024

# Pieces of each language, put together in any order: most of it is wrong in a way that noise never is.
_PIECES = {
    "manifest": [
        *("path: x", "name: a", "kind: service", "type: sqlite", "env: {A: b}", "health:", "  path: /", "port: 8"),
        *("\n", "\n  ", "- ", "&a ", "*a", "<<: ", "!!int ", "{", "}", "[", "]", ": ", "? ", "|\n", ">", "'", '"', "#"),
        *("\t", "---\n", "...\n", "%YAML 1.2\n", "\0", "\x85", "\u2028", "é", "~", "1e400", "0x1", "runtime: 3.10"),
    ],
    "procfile": [
        *("web: ", "worker: ", "gunicorn ", "uvicorn ", "cd ", "&& ", "srv ", "web:app ", "A=1 ", "--timeout ", "-t"),
        *("090 ", "--umask=", "022 ", "-w", "--factory ", "--pythonpath ", "a,b ", "$PORT ", "'", '"', "\\", "#", "\n"),
    ],
    "requirements": [
        *("-r ", "-c", "-e ", "./", "../", ".", "requirements.txt", "file:", "x @ ", "flask", "[a]", " ; "),
        *(" --hash=a:b", "https://h/x.whl"),
        *("\\\n", "\n", "#", "--require-hashes", ".whl", "\0", "\ud800", "-f ", "="),
    ],
}

_NAMES = st.sampled_from(
    ["a", "b", "a/b", "a/b/c", "..", "../x", "/x", ".", "", "a/../b", "a\\b", "x" * 300, "é", "a/"]
)
_TARGETS_OF_LINKS = st.sampled_from(["a", "b", "..", "../..", "a/..", "a/b/../..", "b/../../x", "/etc", "", "a/b/c"])
_KINDS = st.sampled_from([tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
_MEMBERS = st.lists(st.tuples(_NAMES, _KINDS, _TARGETS_OF_LINKS), max_size=8)

_KEYS = st.sampled_from([
    *("project", "name", "version", "dependencies", "requires-python", "dynamic", "tool", "uv", "poetry", "sources"),
    *("package", "packages", "path", "source", "directory", "archive", "type", "url", "metadata", "python-versions"),
    *("_meta", "requires", "python_version", "default", "file", "wheels", "sdist", "hashes", "marker"),
])  # fmt: skip
_TEXTS = st.sampled_from(["x", "..", "^3.9", ">=3", "file", "\0", "extras == 'a'", "x" * 300, "9" * 5000, "", "a b"])
_PLAIN: st.SearchStrategy[Any] = st.one_of(_TEXTS, st.integers(0, 9), st.booleans())
_TREES = st.dictionaries(
    _KEYS,
    st.recursive(
        _PLAIN, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_KEYS, inner)), max_leaves=9
    ),
    max_size=5,
)


@pytest.mark.parametrize("path", _CORPUS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_what_was_once_tried_keeps_every_promise(path: Path) -> None:
    replay(path.parent.name, path.read_bytes())


def test_every_target_has_something_to_begin_with() -> None:
    assert {path.parent.name for path in _CORPUS} == set(TARGETS)


@pytest.mark.parametrize("name", TARGETS)
@given(content=st.binary(max_size=400))
@settings(max_examples=_NOISE)
def test_noise_is_refused_in_words(name: str, content: bytes) -> None:
    replay(name, content)


@pytest.mark.parametrize("name", _PIECES)
@given(data=st.data())
def test_pieces_of_a_language_in_any_order_are_understood_or_refused(name: str, data: st.DataObject) -> None:
    pieces = data.draw(st.lists(st.sampled_from(_PIECES[name]), max_size=20))
    replay(name, "".join(pieces).encode("utf-8", "surrogatepass"))


# What patterns that go back and parsers that recurse take longest for: one thing many times, and then another.
_UNITS = st.sampled_from([
    *("a", "0", " ", "\t", "\n", "\\", "\\\n", "'", '"', "''", "#", "*", "**/", "*a", "[", "]", "[a", "{", "}", "("),
    *(")", "((", "-", "--", "=", "==", ",", ";", ":", "a:", "a: ", "- ", "&a ", "*a ", "<", ">=1,", "a=", "a.", "."),
    *("/", "../", "$", "${", "&& ", "| ", "A=1 ", "-c ", "@", "if x:\n ", "not ", "lambda:", "f(", "[[", "a\0", "é"),
    *("\u2028", "\\x", "application = ", "x = x + ", "'''", "%(a)s", "[a]\n", "export ", "!", "a|", "\r", "1" * 50),
])  # fmt: skip
_PARTS = st.tuples(_UNITS, st.integers(1, 4000))


@pytest.mark.parametrize("name", [name for name in TARGETS if name not in {"tar", "zip"}])
@given(parts=st.lists(_PARTS, min_size=1, max_size=4))
@settings(max_examples=_AIMED)
def test_one_thing_many_times_takes_little_time_and_memory(name: str, parts: list[tuple[str, int]]) -> None:
    replay(name, "".join(unit * count for unit, count in parts).encode()[:_LONGEST])


@pytest.mark.parametrize("members", [1, 7])
@pytest.mark.parametrize("name", ["tar", "zip"])
def test_an_archive_of_much_in_little_is_bounded(name: str, members: int) -> None:
    packed, content = io.BytesIO(), bytes(16 << 20)
    if name == "zip":
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as zipped:
            for number in range(members):
                zipped.writestr(str(number), content)
    else:
        with tarfile.open(fileobj=packed, mode="w:gz") as tar:
            for number in range(members):
                member = tarfile.TarInfo(str(number))
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    replay(name, packed.getvalue())


def test_the_clock_ends_what_goes_on_and_the_bound_refuses_what_holds_too_much() -> None:
    with pytest.raises(AssertionError, match="of a processor"), bounded(processor_s=0.05):
        re.match("(a|a)*b", "a" * 100)
    with pytest.raises(AssertionError, match="bytes at once"), bounded(memory_bytes=1 << 20):
        assert bytes(2 << 20)


@given(tree=_TREES)
def test_a_lock_file_of_any_shape_is_read_or_refused(tree: dict[str, Any]) -> None:
    for name in ("pyproject", *LOCK_FORMATS):
        replay(name, _toml(tree).encode())
        replay(name, json.dumps(tree).encode())


@given(members=_MEMBERS)
def test_a_tarball_of_anything_stays_in_its_directory(members: list[tuple[str, bytes, str]]) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, kind, target in members:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, target
            tar.addfile(member)
    replay("tar", packed.getvalue())


@given(members=_MEMBERS)
@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_a_zip_of_anything_stays_in_its_directory(members: list[tuple[str, bytes, str]]) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as zipped:
        for name, kind, target in members:
            member = zipfile.ZipInfo(name)
            member.external_attr = (0o120777 if kind == tarfile.SYMTYPE else 0o100644) << 16
            zipped.writestr(member, target)
    replay("zip", packed.getvalue())


def _toml(value: Any, *, top: bool = True) -> str:
    """Format a tree as TOML: inline below the top, and texts with the escapes of JSON, which are TOML's."""
    if isinstance(value, dict):
        pairs = [f"{json.dumps(key)} = {_toml(part, top=False)}" for key, part in value.items()]
        return "\n".join(pairs) if top else f"{{{', '.join(pairs)}}}"
    if isinstance(value, list):
        return f"[{', '.join(_toml(part, top=False) for part in value)}]"
    return json.dumps(value)
