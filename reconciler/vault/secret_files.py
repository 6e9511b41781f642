"""Recognise what is secret in the files of a source: whole files, and what lines of code assign to names of secrets."""

import re
from pathlib import PurePosixPath

from reconciler.vault.secret import HIDDEN
from reconciler.vault.secret_patterns import has_private_key, is_secret_name

_NAMES = frozenset((
    ".dockercfg", ".env", ".envrc", ".git-credentials", ".htpasswd", ".my.cnf", ".netrc", ".npmrc", ".pgpass",
    ".pypirc", "_netrc", "id_dsa", "id_ecdsa", "id_ed25519", "id_rsa",
))  # fmt: skip
_SUFFIXES = frozenset((
    ".age", ".env", ".gpg", ".jks", ".kdbx", ".key", ".keystore", ".p12", ".pem", ".pfx", ".ppk", ".tfvars",
))  # fmt: skip
# Data may be secret where its name says so; `tokens.py` and `password.html` are code.
_DATA = frozenset((
    "", ".cfg", ".cnf", ".conf", ".csv", ".ini", ".json", ".properties", ".toml", ".txt", ".xml", ".yaml", ".yml",
))  # fmt: skip
_SAMPLES = frozenset(("dist", "example", "sample", "template"))
# `PASSWORD = "…"`, `"password": "…"`, `password: str = "…"`
_LITERAL = re.compile(
    r"""
    (?<![\w.-]) (?P<name> [A-Za-z_][\w.-]{0,100} ) ["']? \]? \s{0,8} (?: :[\w.,|\[\]\ ]{1,60} )?
    (?: := | => | : | = ) \s{0,8} [A-Za-z]{0,2} (?P<quote>["']) (?P<value> (?: \\. | (?!(?P=quote)). )* )
    """,
    re.VERBOSE,
)
# `password: …` and `password = …` in data, after the sign of a line of a difference.
_BARE = re.compile(
    r"[-+ ]?\s{0,100}(?:- )?(?:export )?(?P<name>[A-Za-z_][\w.-]{0,100})\s{0,8}[:=]\s{0,8}(?P<value>\S.*)"
)


def holds_secrets(path: str, *contents: bytes) -> bool:
    """Return whether a file of a source, of which these are versions, holds secrets."""
    return _is_secret(PurePosixPath(path)) or any(has_private_key(content) for content in contents)


def _is_secret(path: PurePosixPath) -> bool:
    name, suffix = path.name.lower(), path.suffix.lower()
    if _SAMPLES & set(name.split(".")):
        return False
    if name in _NAMES or suffix in _SUFFIXES or name.startswith(".env."):
        return True
    return suffix in _DATA and any(is_secret_name(part) for part in (*path.parts[:-1], path.stem))


def without_secrets(path: str, line: str) -> str:
    """Return a line of a file, or of its difference, without what it assigns to names of secrets."""
    shown, position = [], 0
    for found in _LITERAL.finditer(line):
        if found["value"] and is_secret_name(found["name"]):
            shown += [line[position : found.start("value")], HIDDEN]
            position = found.end("value")
    line = "".join((*shown, line[position:]))
    bare = _BARE.match(line) if PurePosixPath(path).suffix.lower() in _DATA else None
    if bare is not None and HIDDEN not in bare["value"] and is_secret_name(bare["name"]):
        return line[: bare.start("value")] + HIDDEN
    return line
