"""Answer what a registry asks of who asks: Basic, or a Bearer token that its token server gives.

See https://distribution.github.io/distribution/spec/auth/token/. A token is got again before it ends.
"""

import json
import re
import time
from collections.abc import Callable
from dataclasses import field
from functools import partial
from typing import Protocol
from urllib.parse import urlencode, urlsplit

from reconciler.linux.dataclass import dataclass
from reconciler.staging.images.reference import RegistryError
from reconciler.staging.images.registry_login import Login

_CHALLENGE = re.compile(r'(?<!\w)(\w++)="([^"]{0,4096}+)"')
_VALUE = re.compile(r"[\x21-\x7e]{1,65536}")
_TOKEN_S, _SHARE_OF_IT, _LONGEST_S = 60.0, 0.8, 86400.0
_CLIENT = "reconciler"


class Asked(Protocol):
    """Sends a request to a token server and returns the content of its answer. Raises RegistryError."""

    def __call__(self, method: str, url: str, headers: dict[str, str], content: bytes) -> bytes: ...


@dataclass(slots=True, kw_only=True)
class Authorization:
    """What requests to one registry carry. `header` is "" as long as nothing has been asked for."""

    registry: str
    scopes: tuple[str, ...]
    login: Login | None
    plain: bool
    asked: Asked
    header: str = field(default="", repr=False)
    _until_s: float = float("inf")
    _again: Callable[[], None] | None = field(default=None, repr=False)

    @property
    def secrets(self) -> tuple[str, ...]:
        """Each text that must not be shown."""
        own = (*self.login.secrets, self.login.basic) if self.login is not None else ()
        return (*own, *self.header.split(" ")[1:])

    def renew_if_due(self) -> None:
        """Get another token in the place of one that is about to end. Raises RegistryError."""
        if self._again is not None and time.monotonic() >= self._until_s:
            self._again()

    def answer(self, challenges: list[str]) -> None:
        """Have the header that a registry asks for. Raises RegistryError."""
        for challenge in challenges:
            scheme, _, rest = challenge.strip().partition(" ")
            if scheme.lower() == "bearer":
                self._again = partial(self._have_token, dict(_CHALLENGE.findall(rest)))
                self._again()
                return
        if not any(challenge.strip().lower().startswith("basic") for challenge in challenges):
            raise RegistryError(f"{self.registry} asks for a login of a kind that is not known")
        if self.login is None or not self.login.user:
            raise RegistryError(f"{self.registry} asks for a login, and there is none: {_advice(self.registry)}")
        self.header = f"Basic {self.login.basic}"

    def _have_token(self, told: dict[str, str]) -> None:
        token, lasts_s = (self.login.token, float("inf")) if self.login and self.login.token else self._token(told)
        if not _VALUE.fullmatch(token):  # what HTTP refuses in a header, it would show in its exception
            raise RegistryError(f"the token for {self.registry} is none that HTTP can carry")
        self.header = f"Bearer {token}"
        self._until_s = time.monotonic() + lasts_s * _SHARE_OF_IT

    def _token(self, told: dict[str, str]) -> tuple[str, float]:
        realm = told.get("realm", "")
        if urlsplit(realm).scheme not in (("https", "http") if self.plain else ("https",)):
            raise RegistryError(f"{self.registry} names a token server without https, which gets no login")
        query = {"scope": " ".join(self.scopes), "client_id": _CLIENT}
        if told.get("service"):
            query["service"] = told["service"]
        login = self.login
        if login is not None and login.refresh_token:
            form = {**query, "grant_type": "refresh_token", "refresh_token": login.refresh_token}
            kind = {"Content-Type": "application/x-www-form-urlencoded"}
            answer = self.asked("POST", realm, kind, urlencode(form).encode())
        else:
            headers = {"Authorization": f"Basic {login.basic}"} if login is not None else {}
            scopes = [("scope", scope) for scope in self.scopes]
            rest = [(name, value) for name, value in query.items() if name != "scope"]
            url = f"{realm}{'&' if '?' in realm else '?'}{urlencode(scopes + rest)}"
            answer = self.asked("GET", url, headers, b"")
        try:
            found = json.loads(answer)
            lasts_s = found.get("expires_in")
            token = str(found.get("token") or found["access_token"])
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise RegistryError(f"the token server of {self.registry} answered without a token") from None
        known = isinstance(lasts_s, int | float) and 0 < lasts_s <= _LONGEST_S
        return token, float(lasts_s) if known else _TOKEN_S


def _advice(registry: str) -> str:
    return f"name a Docker configuration with one for {registry} in --registry-auth"
