"""Files that hold secrets in; their values out, or why they cannot be used. Blocking, and bounded.

What a file holds never stands in a message.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from reconciler.documents.encoding import Undecodable, decoded
from reconciler.linux.error_words import in_words
from reconciler.linux.named_files import opened_named
from reconciler.linux.readable_paths import readable_path
from reconciler.linux.regular_files import opened_file, read_now

_LARGEST = 1024 * 1024
_NOTHING = re.compile(r"(?:\s+|#[^\n]*)*+")
_NAME = re.compile(r"(?:export[ \t]+)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)[ \t]*=")
_SPACE = re.compile(r"[ \t]*")
_BARE = re.compile(r"[^\n]*")
_COMMENT = re.compile(r"(?<=\s)#.*")
_QUOTED = {
    "'": re.compile(r"'(?P<value>(?:[^'\\]|\\.)*+)'", re.DOTALL),
    '"': re.compile(r'"(?P<value>(?:[^"\\]|\\.)*+)"', re.DOTALL),
}
_END = re.compile(r"[ \t]*(?:#[^\n]*)?(?=\n|\Z)")
_ESCAPES = {"'": re.compile(r"\\([\\'])"), '"': re.compile(r"\\([\\'\"abfnrtv])")}
_ESCAPED = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


class Unusable(Exception):
    """A file that cannot be read or does not say what it must."""


def bytes_of(file: Path, *, of_host: bool = False) -> bytes:
    """Return the content of a file of at most 1 MiB, as it is on the disk. Raises Unusable.

    One `of_host` is named by the settings of the host, and may be anywhere.
    """
    try:
        with opened_file(file) if of_host else opened_named(file) as opened:
            content = read_now(opened, _LARGEST + 1)
    except OSError as error:
        raise Unusable(f"cannot read {readable_path(file)}: {in_words(error)}") from error
    if len(content) > _LARGEST:
        raise Unusable(f"{readable_path(file)} is larger than 1 MiB")
    return content


def text_of(file: Path, content: bytes) -> str:
    """Return the text that a file holds. Raises Unusable."""
    try:
        text = decoded(content)
    except Undecodable:  # which byte it is would tell something of a secret
        raise Unusable(f"{file} is not UTF-8 text") from None
    if "\0" in text:
        raise Unusable(f"{file} holds a NUL character")
    return text


def pairs_of(file: Path, text: str) -> dict[str, str]:
    """Return the values of lines of NAME=VALUE as dotenv reads them, the last of each name. Raises Unusable.

    Empty lines and comments say nothing, and `export` before a name is taken off. A value in quotes may have several
    lines; escapes count in double quotes. Without quotes, a value ends at a `#` behind a space. Nothing is expanded: a
    `$` is a `$`.
    """
    return dict(_pairs(file, text))


def _pairs(file: Path, text: str) -> Iterator[tuple[str, str]]:
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    position, number = 0, 1
    while (line := _end(_NOTHING, text, position)) < len(text):
        number += text.count("\n", position, line)
        name = _NAME.match(text, line)
        if name is None:
            raise Unusable(f"{file}:{number}: expected NAME=VALUE")
        start = _end(_SPACE, text, name.end())
        quote = text[start : start + 1]
        if quote not in _QUOTED:
            position = _end(_BARE, text, start)
            yield name["name"], _COMMENT.sub("", text[name.end() : position]).strip()
            continue
        quoted = _QUOTED[quote].match(text, start)
        if quoted is None:
            raise Unusable(f"{file}:{number}: the value of {name['name']} begins with a {quote} that nothing closes")
        end = _END.match(text, quoted.end())
        if end is None:
            raise Unusable(f"{file}:{number}: expected nothing but a comment after the closing {quote}")
        position = end.end()
        number += text.count("\n", line, position)
        yield name["name"], _ESCAPES[quote].sub(lambda escape: _ESCAPED.get(escape[1], escape[1]), quoted["value"])


def _end(pattern: re.Pattern[str], text: str, position: int) -> int:
    """Return where a pattern that matches anywhere ends."""
    found = pattern.match(text, position)
    return position if found is None else found.end()
