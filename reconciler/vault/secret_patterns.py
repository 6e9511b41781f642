"""Recognise secrets by their name or their shape, and hide them in whatever leaves the daemon.

Every place that shows text asks this module, so that what one hides all hide.
"""

import json
import re
from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache
from urllib.parse import unquote

from reconciler.vault.secret import HIDDEN
from reconciler.vault.secret_texts import SHORTEST, SecretTexts

_NO_SECRETS = frozenset(("true", "false", "none", "null"))
_WORKING_DIRECTORY = frozenset(("PWD", "OLDPWD"))

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[A-Z]+")
_SECRET_WORD = re.compile(
    r"keys?|(api|access|secret|private|auth|account|master|signing|encryption)keys?|\w*dsn|pass|\w*pwd"
    r"|(db|sql|my|mysql|pg|user|mail|smtp|imap|ftp|http|ldap|redis|root|admin|proxy)pass"
    r"|\w*(password|passwd|passphrase)s?|\w*secrets?|\w*tokens?|\w*credentials?|private"
)
# The lengths of names and schemes are bounded: a credential may have a million letters, and each is read once.
# `NAME=value` and `"name": "value"`; elsewhere a name before a colon is prose.
_ASSIGNED_NAME = re.compile(r"""(?<!\w)([A-Za-z_][\w.-]{0,100})(?:=|\\*["']\s*:\s*|["']?\]\s*=\s*)""")
_ASSIGNED_VALUE = re.compile(r"""(?P<quote>\\*["'])(.*?)(?:(?P=quote)|$)|([^\s,;&"'\\(){}\[\]]+)""", re.MULTILINE)
_IN_PROSE = frozenset(("key", "keys", "pass"))  # `sorted(names, key=len)`
_AUTHORIZATION = re.compile(r"(?i)(authorization[\"']?\s*[:=]\s*[\"']?(?:(?:basic|bearer|token)\s+)?)[^\s\"',]+")
# With which the user of an HTTP URL is a token.
_NO_PASSWORDS = frozenset((None, "", "x-oauth-basic"))
# What follows a quotation mark that ends a value.
_END = r"""["'](?:[\s,:;)}\]]|$)"""
_URL = re.compile(
    rf"""(?<![A-Za-z0-9])(?P<scheme>[A-Za-z][A-Za-z0-9+.-]{{0,30}})://(?P<user>[^\s/?\#@:\["'<>]*)
    (?: : (?P<password> (?:(?!://|{_END})[^\s/?\#])* (?=@)
            | (?!\d{{1,5}}(?:[/?\#]|$)) (?:(?!://|{_END})\S)* (?=@) )
    )? @""",
    re.VERBOSE,
)
_KEY_BEGINS = re.compile(r"-----BEGIN [A-Z0-9 ]{0,60}PRIVATE KEY[A-Z ]{0,20}-----")
_KEY_ENDS = re.compile(r"-----END [A-Z0-9 ]{0,60}PRIVATE KEY[A-Z ]{0,20}-----")
_PRIVATE_KEY = re.compile(rf"{_KEY_BEGINS.pattern}.*?(?:{_KEY_ENDS.pattern}|\Z)", re.DOTALL)


@lru_cache(maxsize=4096)
def is_secret_name(name: str) -> bool:
    """Return whether a variable, field or option of this name holds a secret: `STRIPE_KEY` and `dbPassword` do."""
    return name not in _WORKING_DIRECTORY and any(_SECRET_WORD.fullmatch(word) for word in words_of(name))


def words_of(name: str) -> list[str]:
    """Return the words of a name in lower case: those of `dbPassword` and of `DB_PASSWORD` are the same."""
    return [word.lower() for word in _WORD.findall(name)]


def secrets_by_shape(value: str) -> frozenset[str]:
    """Return the secrets in a text that show by their shape: passwords in URLs, private keys, what is assigned."""
    return frozenset(_by_shape(value))


def secrets_in(values: Mapping[str, str]) -> frozenset[str]:
    """Return the secrets among named values, by the name of each or in its text, as they may turn up elsewhere."""
    found = {value for name, value in values.items() if is_secret_name(name)}
    for value in values.values():
        found |= set(_by_shape(value))
    found |= {unquote(secret) for secret in found}
    return frozenset(secret for secret in found if len(secret) >= SHORTEST and secret.lower() not in _NO_SECRETS)


def redacted(text: str, secrets: SecretTexts | Collection[str] = ()) -> str:
    """Return a text without `secrets`, passwords in URLs, private keys, and what is assigned to a secret name."""
    if secrets:
        known = secrets if isinstance(secrets, SecretTexts) else _secret_texts(frozenset(secrets))
        text = known.hidden(text)
    if "-----BEGIN" in text:
        text = _PRIVATE_KEY.sub(HIDDEN, text)
    if "://" in text:
        text = _URL.sub(_without_password, text)
    if "=" in text or ":" in text:
        text = _AUTHORIZATION.sub(rf"\g<1>{HIDDEN}", _without_assigned(text))
    return text


def has_private_key(content: bytes) -> bool:
    """Return whether a private key begins in a file."""
    return b"-----BEGIN" in content and _KEY_BEGINS.search(content.decode("utf-8", "replace")) is not None


class LineRedactor:
    """Redacts a text that comes line by line: a private key ends in a later line than it begins in."""

    def __init__(self, secrets: SecretTexts | Collection[str] = ()) -> None:
        self._secrets = secrets
        self._in_key = False

    def redacted(self, line: str) -> str:
        """Return the next line without secrets."""
        if self._in_key:
            self._in_key = _KEY_ENDS.search(line) is None
            return HIDDEN
        begins = [*_KEY_BEGINS.finditer(line)]
        self._in_key = bool(begins) and _KEY_ENDS.search(line, begins[-1].end()) is None
        return redacted(line, self._secrets)


def masked(values: Mapping[str, str], secret: Collection[str] = ()) -> dict[str, str]:
    """Return named values with each hidden that is named like a secret or in `secret`, and the others redacted."""
    return {name: HIDDEN if name in secret else _masked(name, value) for name, value in values.items()}


@lru_cache(maxsize=64)
def _secret_texts(secrets: frozenset[str]) -> SecretTexts:
    return SecretTexts(secrets)


def _masked(name: str, value: str) -> str:
    if name == "VCAP_SERVICES":
        return _without_credentials(value)
    return HIDDEN if is_secret_name(name) else redacted(value)


def _by_shape(value: str) -> Iterator[str]:
    for url in _URL.finditer(value):
        if url["password"]:
            yield url["password"]
        if _is_http(url["scheme"]) and url["user"] and url["password"] in _NO_PASSWORDS:
            yield url["user"]
    for key in _PRIVATE_KEY.findall(value):
        yield key
        yield from (line for line in re.split(r"\s+|\\n", key) if len(line) > 2 * SHORTEST and "-----" not in line)
    yield from (value[first:last] for first, last in _assigned(value))


def _without_password(url: re.Match[str]) -> str:
    if _is_http(url["scheme"]):  # where a token may be the user
        return f"{url['scheme']}://{HIDDEN}@"
    return url[0] if url["password"] is None else f"{url['scheme']}://{url['user']}:{HIDDEN}@"


def _is_http(scheme: str) -> bool:
    return scheme.lower().rpartition("+")[2] in {"http", "https"}


def _without_assigned(text: str) -> str:
    shown, position = [], 0
    for first, last in _assigned(text):
        shown += [text[position:first], HIDDEN]
        position = last
    return "".join((*shown, text[position:]))


def _assigned(text: str) -> Iterator[tuple[int, int]]:
    """Yield where the values are that a text assigns to names of secrets."""
    position = 0
    while (name := _ASSIGNED_NAME.search(text, position)) is not None:
        position = name.end()
        if _assigns_secret(name[1]) and (value := _ASSIGNED_VALUE.match(text, position)) is not None:
            yield value.span(3 if value[2] is None else 2)
            position = value.end()


def _assigns_secret(name: str) -> bool:
    return name not in _IN_PROSE and is_secret_name(name)


def _without_credentials(value: str) -> str:
    """Return VCAP_SERVICES with the names and labels of its services, their credentials hidden."""

    def hide(node: object) -> object:
        if isinstance(node, dict):
            return {key: HIDDEN if key == "credentials" else hide(inner) for key, inner in node.items()}
        return [hide(inner) for inner in node] if isinstance(node, list) else node

    try:
        return json.dumps(hide(json.loads(value)), ensure_ascii=False)
    except ValueError:
        return HIDDEN
