"""The secrets among the values that an app is given: all but what is known to be harmless, whatever their names."""

import json
import re
from collections.abc import Iterator, Mapping

from reconciler.planning.fingerprint import Json
from reconciler.vault.secret_patterns import is_secret_name, redacted, secrets_by_shape, secrets_in, words_of
from reconciler.vault.secret_texts import SHORTEST

# The last word of a name that says where, how much or in which way.
_PLAIN_NAMES = frozenset((
    "app", "backend", "bucket", "charset", "color", "colour", "concurrency", "count", "database", "db", "debug",
    "dir", "directory", "domain", "enabled", "encoding", "engine", "env", "environment", "file", "filename", "format",
    "host", "hostname", "hosts", "interval", "label", "lang", "language", "level", "limit", "locale", "log", "login",
    "mode", "module", "name", "origins", "path", "plan", "port", "ports", "prefix", "protocol", "region", "root",
    "schema", "scheme", "seconds", "size", "sslmode", "threads", "timeout", "timezone", "title", "ttl", "type", "tz",
    "user", "username", "version", "vhost", "workers", "zone",
))  # fmt: skip
_PLAIN_VALUES = frozenset((
    "true", "false", "yes", "no", "on", "off", "none", "null", "debug", "info", "warning", "warn", "error",
    "critical", "trace", "production", "prod", "staging", "stage", "development", "dev", "testing", "test", "local",
    "localhost", "utf-8", "utf8", "utc", "c.utf-8", "auto", "default",
))  # fmt: skip
_PLAIN_VALUE = re.compile(r"\d{1,3}(\.\d{1,3}){0,3}(ms|[smhd]|[kKMG](i?B)?|%)?|::1?|(sqlite|file)://\S*")
_TOKEN = re.compile(r"(?=[^0-9]*[0-9])(?=[^A-Za-z]*[A-Za-z])[^\s]{8,}")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,30}://[^:@\s]*:")
_MOST_ENDS = 8
_SHORTEST_SHOWN = 3  # a shorter one is no secret


def is_harmless(name: str, value: str) -> bool:
    """Return whether a setting may be shown: `LOG_LEVEL`, `PORT`, or any that is `true`, `30s` or `production`."""
    if len(value) < _SHORTEST_SHOWN or value.lower() in _PLAIN_VALUES:
        return True
    if is_secret_name(name) or redacted(value) != value:
        return False
    return (words_of(name) or [""])[-1] in _PLAIN_NAMES or _PLAIN_VALUE.fullmatch(value) is not None


def given_secrets(values: Mapping[str, str]) -> frozenset[str]:
    """Return the secrets among values that come from a file or a service: JSON is looked into, and URLs for passwords.

    A value with a secret of a known shape in it, such as a URL with a password, may be shown without that one.
    """
    found = set(secrets_in(values))
    for name, value in values.items():
        passwords = frozenset(_passwords(value))
        found |= passwords
        inner = dict(_inner(value))
        if inner:
            found |= given_secrets(inner)
        elif not (passwords or is_harmless(name, value) or secrets_by_shape(value)):
            found.add(value)
    return frozenset(secret for secret in found if len(secret) >= SHORTEST)


def written_secrets(values: Mapping[str, str]) -> frozenset[str]:
    """Return the secrets among values that stand in a manifest: by name, by shape, and what looks like a token.

    Most such values are none, and are words of messages: `GREETING: hello`.
    """
    tokens = (value for name, value in values.items() if _looks_random(value) and not is_harmless(name, value))
    return secrets_in(values) | frozenset(tokens) | frozenset(p for value in values.values() for p in _passwords(value))


def _looks_random(value: str) -> bool:
    return _TOKEN.fullmatch(value) is not None and "://" not in value and not value.startswith((".", "/"))


def texts_in(value: Json, name: str = "") -> Iterator[tuple[str, str]]:
    """Yield the texts and numbers in JSON data, each with the names that lead to it."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from texts_in(inner, f"{name} {key}")
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from texts_in(inner, f"{name} {index}")
    elif isinstance(value, str):
        yield name, value
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield name, str(value)


def _inner(value: str) -> Iterator[tuple[str, str]]:
    if not value.lstrip().startswith(("{", "[")):
        return
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        return
    yield from texts_in(found)


def _passwords(value: str) -> Iterator[str]:
    """Yield what may be the password of a URL that has unusual characters in it, up to each `@` of the value."""
    scheme = _SCHEME.match(value)
    if scheme is None:
        return
    ends = [found.start() for found in re.finditer("@", value)][:_MOST_ENDS]
    yield from (value[scheme.end() : end] for end in ends if end > scheme.end())
