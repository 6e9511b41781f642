"""Ask one registry over HTTP: with its authorization, its redirects, and as often as is worth it.

What authorizes is sent to the registry and its token server alone, never to where either of them redirects.
See https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md.
"""

from collections.abc import Callable, Mapping
from typing import TypeVar
from urllib.parse import SplitResult, urlsplit

from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from reconciler.linux.dataclass import dataclass
from reconciler.staging.images.reference import RegistryError
from reconciler.staging.images.registry_authorization import Authorization
from reconciler.staging.images.registry_login import Login
from reconciler.staging.images.registry_transport import Answer, NotNow, Part, Transport

Made = TypeVar("Made")
_MOST_REDIRECTS = 5
_SOON = frozenset((408, 425, 429, 500, 502, 503, 504, 507))
_HUB, _HUB_HOST = "docker.io", "registry-1.docker.io"


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How often a registry is asked, and how long is waited in between. In seconds."""

    attempts: int = 6
    first_s: float = 1.0
    most_s: float = 30.0
    asked_s: float = 300.0  # the most that a registry may ask for by Retry-After


class Registry:
    """A registry, as one command asks it; `told` gets what is worth saying meanwhile. Blocks."""

    def __init__(
        self,
        transport: Transport,
        scopes: tuple[str, ...],
        login: Login | None,
        *,
        patience: Patience = Patience(),
        told: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.told = told
        self._transport, self._patience = transport, patience
        self._host = host = transport.host
        self._top = f"{'http' if transport.plain else 'https'}://{_HUB_HOST if host == _HUB else host}"
        self._authorization = Authorization(
            registry=host, scopes=scopes, login=login, plain=transport.plain, asked=self._asked_for_token
        )

    @property
    def sent(self) -> int:
        """The bytes of content that were sent, those of tries that failed included."""
        return self._transport.sent

    def url(self, path: str) -> str:
        """Return the URL of a path below the registry's API."""
        return f"{self._top}/v2/{path}"

    def is_own(self, url: str) -> bool:
        """Return whether a URL is the registry's own, and not of where it keeps its data."""
        return _origin(urlsplit(url)) == _origin(urlsplit(self._top))

    def patiently(self, what: str, attempt: Callable[[], Made]) -> Made:
        """Return what an attempt makes, which is made again as long as it raises NotNow. Raises RegistryError."""
        patience = self._patience
        paced = wait_random_exponential(multiplier=patience.first_s, max=patience.most_s)

        def pause_s(state: RetryCallState) -> float:
            asked_s = min(_not_now(state).pause_s, patience.asked_s)
            return max(asked_s, paced(state))

        def tell(state: RetryCallState) -> None:
            self.told(f"{what}: {_not_now(state)}; again in {state.upcoming_sleep:.0f} s")

        retrying = Retrying(
            retry=retry_if_exception_type(NotNow),
            wait=pause_s,
            stop=stop_after_attempt(patience.attempts),
            before_sleep=tell,
            reraise=True,
        )
        try:
            return retrying(attempt)
        except NotNow as error:
            raise RegistryError(f"cannot {what}: {error}, {patience.attempts} times") from None

    def ask(self, method: str, url: str, headers: Mapping[str, str] | None = None, body: bytes | Part = b"") -> Answer:
        """Return the answer to one request, redirects followed. Raises NotNow, RegistryError."""
        self._authorization.renew_if_due()
        answer = self._redirected(method, url, headers or {}, body)
        if answer.status == 401:
            self._authorization.answer(list(answer.challenges))
            answer = self._redirected(method, url, headers or {}, body)
        if answer.status in _SOON:
            raise NotNow(self.refusal(answer), _seconds(answer.headers.get("retry-after", "")))
        if answer.status in (401, 403):
            raise RegistryError(f"{self.refusal(answer)}: the login may not do that, or is not valid")
        return answer

    def refusal(self, answer: Answer) -> str:
        """Return in words what a registry answered, without anything secret."""
        return f"{self._host} answered {answer.status}{f' ({self._shown(answer.why)})' if answer.why else ''}"

    def _redirected(self, method: str, url: str, headers: Mapping[str, str], body: bytes | Part) -> Answer:
        for _ in range(_MOST_REDIRECTS + 1):
            own = {"Authorization": self._authorization.header} if self._authorization.header else {}
            answer = self._transport.send(method, url, {**headers, **(own if self.is_own(url) else {})}, body)
            moved = (301, 302, 303, 307, 308) if method in ("GET", "HEAD") else (307, 308)
            if answer.status not in moved or not answer.location:
                return answer
            url = answer.location
        raise RegistryError(f"{self._host} redirects more than {_MOST_REDIRECTS} times")

    def _asked_for_token(self, method: str, url: str, headers: dict[str, str], content: bytes) -> bytes:
        answer = self._transport.send(method, url, headers, content)
        if answer.status in _SOON:
            raise NotNow(f"its token server answered {answer.status}", _seconds(answer.headers.get("retry-after", "")))
        if answer.status != 200:
            why = f" ({self._shown(answer.why)})" if answer.why else ""
            raise RegistryError(f"the token server of {self._host} answered {answer.status}{why}: is the login valid?")
        return answer.content

    def _shown(self, text: str) -> str:
        for secret in self._authorization.secrets:
            text = text.replace(secret, "•••")
        return text


def _not_now(state: RetryCallState) -> NotNow:
    error = state.outcome.exception() if state.outcome is not None else None
    assert isinstance(error, NotNow)
    return error


def _origin(split: SplitResult) -> tuple[str, str, int | None]:
    try:
        port = split.port or {"https": 443, "http": 80}.get(split.scheme)
    except ValueError:
        port = None
    return split.scheme, (split.hostname or "").lower(), port


def _seconds(written: str) -> float:
    """Return the seconds of a Retry-After; a date is ignored, since clocks may differ."""
    return float(written) if written.isascii() and written.isdecimal() and len(written) < 6 else 0.0
