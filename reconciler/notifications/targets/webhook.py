"""Notify by a webhook, which gets the message in a POST of JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypeAlias

from reconciler.linux.dataclass import dataclass
from reconciler.notifications import payloads
from reconciler.notifications.digest import Entry
from reconciler.notifications.target import NotSent, content_of

if TYPE_CHECKING:
    from reconciler.notifications.own_thread import OwnThread

PayloadFormat: TypeAlias = Literal["json", "slack"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """A URL, or the path of the file that contains it, read for each message.

    `ca` is a file with the only authorities to trust its certificate from; without it, they are this host's.
    """

    REQUIRED: ClassVar[tuple[str, ...]] = ("url",)
    OPTIONAL: ClassVar[tuple[str, ...]] = ("template", "ca")

    url: str | Path = field(repr=False)
    format: PayloadFormat = "json"
    ca: Path | None = None

    def __str__(self) -> str:
        return f"the webhook in {self.url}" if isinstance(self.url, Path) else f"the webhook at {_host_of(self.url)}"

    @classmethod
    def problem(cls, _: Mapping[str, Any]) -> str:
        return ""

    @classmethod
    def parse(cls, fields: Mapping[str, Any], folder: str) -> Self:
        url = fields["url"]
        return cls(
            url=Path(folder, url["file"]) if isinstance(url, Mapping) else str(url),
            format=fields.get("template", "json"),
            ca=Path(folder, fields["ca"]) if "ca" in fields else None,
        )

    async def send(self, entries: Sequence[Entry], host: str, thread: "OwnThread", within_s: float) -> None:
        """Post the message."""
        slack = self.format == "slack"
        payload = payloads.as_slack(entries, host) if slack else payloads.as_json(entries, host, datetime.now(UTC))
        await thread.run(lambda: self._post(payloads.encoded(payload), within_s), within_s)

    def _post(self, content: bytes, timeout_s: float) -> None:
        # Only a host that notifies by a webhook loads what posts.
        import http.client
        import urllib.error

        from reconciler.notifications import tls

        url = content_of(self.url) if isinstance(self.url, Path) else self.url
        if not url.startswith(("https://", "http://")):
            raise NotSent("its URL does not begin with https:// or http://")
        try:
            _open(url, content, tls.context(self.ca), timeout_s)
        except TimeoutError:
            raise
        except urllib.error.HTTPError as error:
            with error:
                raise NotSent(f"it answered {error.code}") from None
        except urllib.error.URLError as error:
            if isinstance(error.reason, TimeoutError):
                raise error.reason from None
            raise NotSent(tls.tls_reason(error.reason)) from None
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise NotSent(tls.tls_reason(error)) from None


def _open(url: str, content: bytes, trust: Any, timeout_s: float) -> None:
    import urllib.request

    class NoRedirect(urllib.request.HTTPRedirectHandler):
        """A redirect would send the message to a host that the settings do not name."""

        def redirect_request(self, *_: Any) -> None:
            return None

    headers = {"Content-Type": "application/json", "User-Agent": "reconciler"}
    request = urllib.request.Request(url, data=content, headers=headers)  # noqa: S310  checked by the caller
    opener = urllib.request.build_opener(NoRedirect, urllib.request.HTTPSHandler(context=trust))
    with opener.open(request, timeout=timeout_s):
        pass


def _host_of(url: str) -> str:
    return url.partition("://")[2].partition("/")[0].rpartition("@")[2]
