"""Find the login for a registry in a Docker configuration, or ask the credential helper that it names.

Nothing secret is in an argument, a message or the text of an exception.
"""

import base64
import binascii
import json
import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Any

from reconciler.linux.dataclass import dataclass
from reconciler.linux.error_words import in_words
from reconciler.linux.regular_files import read_file
from reconciler.staging.images.reference import RegistryError

_MOST_BYTES = 1 << 20
_HELPER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_HELPER_WITHIN_S = 30.0
_OF_DOCKER_HUB = "https://index.docker.io/v1/"
_HUB = frozenset(("docker.io", "index.docker.io", "registry-1.docker.io"))
# What a helper names the user for a secret that is a refresh token.
_TOKEN_USER = "<token>"  # noqa: S105


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """What a registry is told of who asks: a user and a password, a refresh token, or a token as it is."""

    user: str = ""
    password: str = field(default="", repr=False)
    refresh_token: str = field(default="", repr=False)
    token: str = field(default="", repr=False)

    @property
    def basic(self) -> str:
        """The user and the password, as HTTP has them in a header."""
        return base64.b64encode(f"{self.user}:{self.password}".encode()).decode()

    @property
    def secrets(self) -> tuple[str, ...]:
        """Each text that must not be shown."""
        return tuple(each for each in (self.password, self.refresh_token, self.token) if each)


def default_configuration(environ: Mapping[str, str]) -> Path:
    """Return where Docker has its configuration."""
    directory = environ.get("DOCKER_CONFIG")
    return Path(directory) if directory else Path(environ.get("HOME") or "/root", ".docker")


def login_for(registry: str, file: Path | None, environ: Mapping[str, str] = os.environ) -> Login | None:
    """Return the login for a registry, None if there is none. Raises RegistryError; blocks.

    `file` is a Docker configuration; without it, Docker's own is read if it exists.
    """
    path = file if file is not None else default_configuration(environ) / "config.json"
    try:
        found = json.loads(read_file(path, _MOST_BYTES))
    except FileNotFoundError as error:
        if file is None:
            return None
        raise RegistryError(f"cannot read the logins of registries: {path} does not exist") from error
    except OSError as error:
        raise RegistryError(f"cannot read the logins of registries in {path}: {in_words(error)}") from error
    except (ValueError, RecursionError):  # their text may have a piece of the file
        raise RegistryError(f"cannot read the logins of registries: {path} is no JSON") from None
    names = (_OF_DOCKER_HUB, *sorted(_HUB)) if registry in _HUB else (registry, f"https://{registry}")
    for name in names:
        if helper := _entry(found, "credHelpers").get(name):
            return _asked(str(helper), name, environ)
    logins = _entry(found, "auths")
    for name in names:
        if (login := _written(logins.get(name), path)) is not None:
            return login
    if isinstance(found, Mapping) and found.get("credsStore"):
        return _asked(str(found["credsStore"]), names[0], environ)
    return None


def _entry(document: Any, name: str) -> Mapping[str, Any]:
    found = document.get(name) if isinstance(document, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _written(entry: Any, path: Path) -> Login | None:
    """Return the login that a configuration has by itself, None for one that says nothing."""
    if not isinstance(entry, Mapping):
        return None
    user, password = str(entry.get("username") or ""), str(entry.get("password") or "")
    if encoded := entry.get("auth"):
        try:
            user, _, password = base64.b64decode(str(encoded), validate=True).decode().rstrip("\0").partition(":")
        except (binascii.Error, ValueError):
            raise RegistryError(f"a login in {path} is no base64 of user:password") from None
    refresh, token = str(entry.get("identitytoken") or ""), str(entry.get("registrytoken") or "")
    if not (user or refresh or token):
        return None
    return Login(user=user, password=password, refresh_token=refresh, token=token)


def _asked(helper: str, server: str, environ: Mapping[str, str]) -> Login | None:
    """Ask a credential helper. See https://github.com/docker/docker-credential-helpers."""
    program = f"docker-credential-{helper}"
    if not _HELPER.fullmatch(helper):
        raise RegistryError(f"'{helper}' is no name of a credential helper")
    try:
        done = subprocess.run(
            [program, "get"],
            input=server.encode(),
            capture_output=True,
            timeout=_HELPER_WITHIN_S,
            check=False,
            env=dict(environ),
            start_new_session=True,
        )
    except FileNotFoundError as error:
        raise RegistryError(f"the login for {server} is with {program}, which is not on PATH") from error
    except subprocess.TimeoutExpired:  # it holds what the helper has printed
        raise RegistryError(f"{program} did not answer within {_HELPER_WITHIN_S:g} s") from None
    except OSError as error:
        raise RegistryError(f"cannot run {program}: {in_words(error)}") from error
    if done.returncode:
        if b"not found" in done.stdout[:_MOST_BYTES]:
            return None
        raise RegistryError(f"{program} has no login for {server}: exit code {done.returncode}")
    try:
        told = json.loads(done.stdout[:_MOST_BYTES])
        user, secret = str(told["Username"]), str(told["Secret"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise RegistryError(f"{program} printed no login for {server}") from None
    return Login(refresh_token=secret) if user == _TOKEN_USER else Login(user=user, password=secret)
