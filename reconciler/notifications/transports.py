"""A message in; one try to bring it over the network out, whose failure says why without a secret.

Everything here blocks.
"""

import contextlib
import http.client
import smtplib
import ssl
import urllib.error
import urllib.request
from collections.abc import Sequence
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from reconciler.notifications import message
from reconciler.notifications.digest import Entry
from reconciler.notifications.targets import Smtp, Webhook


class NotSent(Exception):
    """The target did not take the message; says why, and holds nothing secret."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the message to somebody nobody named."""

    def redirect_request(self, *_: Any) -> None:
        return None


def send(target: Webhook | Smtp, items: Sequence[Entry], host: str, timeout_s: float) -> None:
    """Bring the message to the target, which may be silent for `timeout_s` at most; raises NotSent, TimeoutError."""
    try:
        match target:
            case Webhook():
                _post(target, items, host, timeout_s)
            case Smtp():
                _mail(target, items, host, timeout_s)
    except (NotSent, TimeoutError):
        raise
    except urllib.error.HTTPError as error:
        with error:
            raise NotSent(f"it answered {error.code}") from None
    except urllib.error.URLError as error:
        if isinstance(error.reason, TimeoutError):
            raise error.reason from None
        raise NotSent(reason(error.reason)) from None
    except (OSError, ValueError, http.client.HTTPException, smtplib.SMTPException) as error:
        raise NotSent(reason(error)) from None


def _post(target: Webhook, items: Sequence[Entry], host: str, timeout_s: float) -> None:
    url = _content(target.url) if isinstance(target.url, Path) else target.url
    if not url.startswith(("https://", "http://")):
        raise NotSent("its URL does not begin with https:// or http://")
    slack = target.format == "slack"
    payload = message.as_slack(items, host) if slack else message.as_json(items, host, datetime.now(UTC))
    headers = {"Content-Type": "application/json", "User-Agent": "reconciler"}
    request = urllib.request.Request(url, data=message.encoded(payload), headers=headers)  # noqa: S310  checked above
    secured = urllib.request.HTTPSHandler(context=_trusting(target.ca))
    opener = urllib.request.build_opener(_NoRedirect, secured)
    with opener.open(request, timeout=timeout_s):
        pass


def _mail(target: Smtp, items: Sequence[Entry], host: str, timeout_s: float) -> None:
    mail = EmailMessage()
    mail["Subject"] = message.headline(items, host)
    mail["From"] = target.sender
    mail["To"] = ", ".join(target.recipients)
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(message.text(items, host))
    trusted = _trusting(target.ca)
    server = (
        smtplib.SMTP_SSL(target.server, target.port, timeout=timeout_s, context=trusted)
        if target.tls == "tls"
        else smtplib.SMTP(target.server, target.port, timeout=timeout_s)
    )
    with contextlib.closing(server):
        if target.tls == "starttls":
            server.starttls(context=trusted)
        if target.user is not None and target.password is not None:
            server.login(target.user, _content(target.password))
        server.send_message(mail)
        # It has the message: an answer to this is not waited for, or a server that gives none would get it again.
        with contextlib.suppress(OSError, smtplib.SMTPException):
            server.putcmd("quit")


def _content(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        raise NotSent(f"cannot read {file}") from None


def _trusting(authority: Path | None) -> ssl.SSLContext:
    """What verifies a certificate: this host's trusted authorities, or only those in a file."""
    try:
        return ssl.create_default_context(cafile=authority)
    except OSError:
        raise NotSent(f"cannot read the certificates in {authority}") from None


def reason(error: object) -> str:
    """What the kernel, TLS or a mail server said; an exception's text may quote what was sent, its name does not."""
    match error:
        case ssl.SSLCertVerificationError():
            return f"its certificate is not trusted: {error.verify_message}"
        case smtplib.SMTPResponseException():
            return f"the mail server answered {error.smtp_code}"
        case smtplib.SMTPRecipientsRefused():
            codes = sorted({str(code) for code, _ in error.recipients.values()})
            return f"the mail server refused every recipient: {', '.join(codes)}"
        case smtplib.SMTPNotSupportedError():
            return f"the mail server cannot do what is asked: {error}"
        case smtplib.SMTPServerDisconnected():
            return "the mail server hung up"
    return (isinstance(error, OSError) and error.strerror) or type(error).__name__
