"""Build the environment of installers: where packages come from, and nothing that misleads them.

Indexes, credentials, certificates and proxies are passed on to both uv and pip, whichever they were written for.
"""

import os
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

from reconciler.vault.secret_patterns import secrets_in
from reconciler.vault.secret_texts import SHORTEST

# The bytes that each process of an installer may use; bounded_exec reads and removes it.
MEMORY = "RECONCILER_STAGING_MEMORY"
# The names of further variables that installers may see, because the host's settings give them, and those from files.
VARIABLES, SECRETS = "RECONCILER_STAGING_VARIABLES", "RECONCILER_STAGING_FILES"
_ALLOWED = frozenset(
    (
        MEMORY,
        *("PATH", "HOME", "LANG", "TMPDIR", "NETRC"),
        *("http_proxy", "https_proxy", "all_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "SSL_CLIENT_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
        *("UV_INDEX", "UV_DEFAULT_INDEX", "UV_EXTRA_INDEX_URL", "UV_INDEX_URL", "UV_INDEX_STRATEGY", "UV_FIND_LINKS"),
        *("UV_SYSTEM_CERTS", "UV_NATIVE_TLS", "UV_INSECURE_HOST", "UV_KEYRING_PROVIDER", "UV_HTTP_TIMEOUT"),
        *("UV_HTTP_RETRIES", "UV_EXCLUDE_NEWER"),
        *("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_TRUSTED_HOST", "PIP_CERT", "PIP_CLIENT_CERT"),
        *("PIP_PROXY", "PIP_DEFAULT_TIMEOUT", "PIP_RETRIES"),
    )
)
_ALLOWED_PREFIX = "UV_INDEX_"
# Of files and directories that decide, beside the app's own, what is installed.
_HOST_FILES = (
    *("UV_CONSTRAINT", "UV_BUILD_CONSTRAINT", "UV_OVERRIDE", "UV_EXCLUDE", "UV_CONFIG_FILE", "UV_FIND_LINKS"),
    *("PIP_CONSTRAINT", "PIP_BUILD_CONSTRAINT", "PIP_REQUIREMENT", "PIP_FIND_LINKS"),
)
# Settings that uv and pip share, by the name that each reads.
_EQUIVALENT: tuple[tuple[str, str], ...] = (
    ("UV_DEFAULT_INDEX", "PIP_INDEX_URL"),
    ("UV_EXTRA_INDEX_URL", "PIP_EXTRA_INDEX_URL"),
    ("UV_FIND_LINKS", "PIP_FIND_LINKS"),
    ("SSL_CERT_FILE", "PIP_CERT"),
    ("SSL_CLIENT_CERT", "PIP_CLIENT_CERT"),
    ("UV_INSECURE_HOST", "PIP_TRUSTED_HOST"),
)
# With which uv takes the best version of all indexes, as pip does.
_UNSAFE_STRATEGY = "unsafe-"
_NAMED_INDEX = re.compile(r"(?P<name>[A-Za-z0-9_.-]+)=(?P<url>.+)")
_PYPI = "https://pypi.org/simple"
_SYSTEM_CERTIFICATES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")


def clean_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of `environ` that an installer may see."""
    further = environ.get(VARIABLES, "").split()
    return {
        name: value
        for name, value in environ.items()
        if name in _ALLOWED or name in further or name.startswith(_ALLOWED_PREFIX)
    }


def variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the further variables that the host's settings give to installers and builds."""
    given = [name for name in environ.get(VARIABLES, "").split() if not name.startswith(_ALLOWED_PREFIX)]
    return {name: environ[name] for name in given if name in environ and name not in _ALLOWED}


def secrets_of(environ: Mapping[str, str]) -> frozenset[str]:
    """Return what must not be written: secrets by their name or shape, and all that comes from a file."""
    from_files = {environ[name] for name in environ.get(SECRETS, "").split() if name in environ}
    return _secrets_in(frozenset(environ.items())) | {value for value in from_files if len(value) >= SHORTEST}


@lru_cache(maxsize=8)
def _secrets_in(variables: frozenset[tuple[str, str]]) -> frozenset[str]:
    return secrets_in(dict(variables))


def for_installers(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the complete environment of uv and pip, with settings that keep both from prompting and downloading."""
    clean = clean_environment(environ)
    for of_uv, of_pip in _EQUIVALENT:
        if of_uv in clean:
            clean.setdefault(of_pip, clean[of_uv])
        elif of_pip in clean:
            clean[of_uv] = clean[of_pip]
    clean.update(_indexes_of_pip(clean))
    certificates = clean.get("PIP_CERT") or next((path for path in _SYSTEM_CERTIFICATES if Path(path).is_file()), None)
    if certificates is not None:
        clean["PIP_CERT"] = certificates
    clean.setdefault("UV_SYSTEM_CERTS", "1")
    return {
        "LANG": "C.UTF-8",
        **clean,
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_NO_INPUT": "1",
        "PIP_NO_PYTHON_VERSION_WARNING": "1",
        "PIP_PROGRESS_BAR": "off",
        "PIP_ROOT_USER_ACTION": "ignore",
        # How long virtualenv waits for an interpreter to tell of itself: on a busy host, as long as staging may take.
        "PY_DISCOVERY_TIMEOUT": "86400",
        # Each build of an sdist may take a compiler's memory.
        "UV_CONCURRENT_BUILDS": str(min(4, len(os.sched_getaffinity(0)))),
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_NO_ENV_FILE": "1",
    }


def host_files(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return the files and directories that the host's settings have uv and pip read."""
    return tuple(file for name in _HOST_FILES for file in environment.get(name, "").split())


def for_hashed(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a pip that is told the hash of each file: it may look in every index."""
    indexes = [*_private_indexes(environment), _default_index(environment)]
    return {**environment, "PIP_INDEX_URL": indexes[0], "PIP_EXTRA_INDEX_URL": " ".join(indexes[1:])}


def for_index(environment: Mapping[str, str], index: str, further: Iterable[str] = ()) -> dict[str, str] | None:
    """Return the environment of a pip that may look in one index alone, which may be one of `further`.

    uv names an index without its credentials; pip is given them. None for a place of files that is no index.
    """
    known = (*further, _default_index(environment), *_private_indexes(environment))
    addresses = {_without_credentials(each): each for each in known}
    address = addresses.get(_without_credentials(index))
    return {**environment, "PIP_INDEX_URL": address, "PIP_EXTRA_INDEX_URL": ""} if address else None


def _indexes_of_pip(clean: Mapping[str, str]) -> dict[str, str]:
    """Return pip's own variables for the indexes. Private ones keep it from any other, unless uv is told to mix them.

    uv takes a package from the first index that has it; pip takes the highest version of all, so that a stranger
    who publishes the name of a private package would be installed.
    """
    private = _private_indexes(clean)
    if not private:
        return {}
    if clean.get("UV_INDEX_STRATEGY", "").startswith(_UNSAFE_STRATEGY):
        return {"PIP_INDEX_URL": _default_index(clean), "PIP_EXTRA_INDEX_URL": " ".join(private)}
    return {"PIP_INDEX_URL": private[0], "PIP_EXTRA_INDEX_URL": " ".join(private[1:])}


def _default_index(clean: Mapping[str, str]) -> str:
    return clean.get("UV_DEFAULT_INDEX") or clean.get("UV_INDEX_URL") or _PYPI


def _private_indexes(clean: Mapping[str, str]) -> list[str]:
    """Return the addresses of the indexes that come before the default one, with their credentials."""
    found = []
    for index in clean.get("UV_INDEX", "").split():
        named = _NAMED_INDEX.fullmatch(index)
        name, url = (named["name"], named["url"]) if named else ("", index)
        prefix = f"UV_INDEX_{re.sub('[^A-Z0-9]', '_', name.upper())}"
        found.append(_with_credentials(url, clean.get(f"{prefix}_USERNAME"), clean.get(f"{prefix}_PASSWORD")))
    found += clean.get("UV_EXTRA_INDEX_URL", "").split()
    return list(dict.fromkeys(found))


def _without_credentials(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])).rstrip("/")


def _with_credentials(url: str, user: str | None, password: str | None) -> str:
    parts = urlsplit(url)
    if (user is None and password is None) or "@" in parts.netloc or not parts.netloc:
        return url
    credentials = quote(user or "", safe="") + (f":{quote(password, safe='')}" if password is not None else "")
    return urlunsplit(parts._replace(netloc=f"{credentials}@{parts.netloc}"))
