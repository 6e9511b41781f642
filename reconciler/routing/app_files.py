"""Read the files that the routing of an app names: the users of its login, and its own certificate."""

import hashlib
import re
import ssl

from reconciler.linux.error_words import in_words
from reconciler.linux.named_files import read_named
from reconciler.planning.routing.file_words import is_plain_path
from reconciler.planning.routing.observed import AppFiles
from reconciler.planning.routing.routing import Certificate, Routing

_MOST = 1024 * 1024
_USER = re.compile("[A-Za-z0-9_.@+-]{1,64}")
# The hash that every proxy understands.
_BCRYPT = re.compile(r"\$2[aby]\$[0-9]{2}\$[./A-Za-z0-9]{53}")


class _Unfit(Exception):
    """A file that cannot be used; the text is for operators."""


def read_app_files(app: str, routing: Routing) -> AppFiles | None:
    """Return what an app's files hold, None for an app that names none; blocks."""
    if routing.login is None and routing.certificate is None:
        return None
    for path in filter(None, (routing.login, *((c.chain, c.key) if (c := routing.certificate) else ()))):
        if not is_plain_path(path):
            return AppFiles(
                problem=f"the domains of {app} are not published: {path!r} has characters that proxies misread"
            )
    try:
        return AppFiles(
            accounts=None if routing.login is None else _accounts(routing.login),
            certificate="" if routing.certificate is None else _certificate(routing.certificate),
        )
    except _Unfit as unfit:
        return AppFiles(problem=f"the domains of {app} are not published: {unfit}")


def _accounts(path: str) -> tuple[tuple[str, str], ...]:
    try:
        text = read_named(path, _MOST).decode("utf-8", "replace")
    except OSError as error:
        raise _Unfit(f"cannot read {path}: {in_words(error)}") from error
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        user, _, hashed = line.strip().partition(":")
        if not _USER.fullmatch(user):
            raise _Unfit(f"{path}:{number}: expected NAME:HASH, as 'htpasswd -nB NAME' prints it")
        if not _BCRYPT.fullmatch(hashed):
            raise _Unfit(f"{path}:{number}: the password of {user} is no bcrypt hash: 'htpasswd -nB {user}' makes one")
        found[user] = hashed
    if not found:
        raise _Unfit(f"{path} names no user")
    return tuple(found.items())


def _certificate(certificate: Certificate) -> str:
    """Return what identifies a certificate's content, once it is known to fit its key."""
    digest = hashlib.sha256()
    for path in (certificate.chain, certificate.key):
        try:
            digest.update(read_named(path, _MOST))
        except OSError as error:
            raise _Unfit(f"cannot read {path}: {in_words(error)}") from error
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate.chain, certificate.key, password=_none)
    except (ssl.SSLError, ValueError, OSError):
        text = f"{certificate.chain} and {certificate.key} are no certificate with its key, or the key has a password"
        raise _Unfit(text) from None
    return digest.hexdigest()[:12]


def _none() -> str:
    """Return no password, so that none is asked for at a terminal."""
    return ""
