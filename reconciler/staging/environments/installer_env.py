"""Build the environment of installers: where packages come from, and nothing that misleads them.

Indexes, credentials, certificates and proxies are passed on to both uv and pip, whichever they were written for.
"""

import os
from collections.abc import Mapping
from pathlib import Path

# The bytes that each process of an installer may use; bounded_exec reads and removes it.
MEMORY = "RECONCILER_STAGING_MEMORY"
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
# Settings that uv and pip share, by the name that each reads.
_EQUIVALENT: tuple[tuple[str, str], ...] = (
    ("UV_DEFAULT_INDEX", "PIP_INDEX_URL"),
    ("UV_EXTRA_INDEX_URL", "PIP_EXTRA_INDEX_URL"),
    ("UV_FIND_LINKS", "PIP_FIND_LINKS"),
    ("SSL_CERT_FILE", "PIP_CERT"),
    ("SSL_CLIENT_CERT", "PIP_CLIENT_CERT"),
    ("UV_INSECURE_HOST", "PIP_TRUSTED_HOST"),
)
_SYSTEM_CERTIFICATES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")


def clean_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of `environ` that an installer may see."""
    return {name: value for name, value in environ.items() if name in _ALLOWED or name.startswith(_ALLOWED_PREFIX)}


def for_installers(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the complete environment of uv and pip, with settings that keep both from prompting and downloading."""
    clean = clean_environment(environ)
    for of_uv, of_pip in _EQUIVALENT:
        if of_uv in clean:
            clean.setdefault(of_pip, clean[of_uv])
        elif of_pip in clean:
            clean[of_uv] = clean[of_pip]
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
        # Each build of an sdist may take a compiler's memory.
        "UV_CONCURRENT_BUILDS": str(min(4, len(os.sched_getaffinity(0)))),
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_NO_ENV_FILE": "1",
    }
