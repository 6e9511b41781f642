"""A message in; one try to bring it to a target, whose failure says why without a secret. Everything here blocks."""

import contextlib
import http.client
import os
import signal
import smtplib
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Sequence
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from reconciler.notifications import message
from reconciler.notifications.news import Item
from reconciler.notifications.target import Command, Smtp, Target, Webhook

_TIMEOUT_S = 10.0


class NotSent(Exception):
    """The target did not take the message; says why, and holds nothing secret."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the message to somebody nobody named."""

    def redirect_request(self, *_: Any) -> None:
        return None


def send(target: Target, items: Sequence[Item], host: str) -> None:
    """Bring the message to the target, in `_TIMEOUT_S` or so; raises NotSent."""
    try:
        match target:
            case Webhook():
                _post(target, items, host)
            case Command():
                _run(target, items, host)
            case Smtp():
                _mail(target, items, host)
    except NotSent:
        raise
    except urllib.error.HTTPError as error:
        with error:
            raise NotSent(f"it answered {error.code}") from None
    except urllib.error.URLError as error:
        raise NotSent(_reason(error.reason)) from None
    except smtplib.SMTPResponseException as error:
        raise NotSent(f"the mail server answered {error.smtp_code}") from None
    except (OSError, ValueError, http.client.HTTPException, smtplib.SMTPException) as error:
        raise NotSent(_reason(error)) from None


def _post(target: Webhook, items: Sequence[Item], host: str) -> None:
    url = _content(target.url) if isinstance(target.url, Path) else target.url
    if not url.startswith(("https://", "http://")):
        raise NotSent("its URL does not begin with https:// or http://")
    slack = target.template == "slack"
    payload = message.as_slack(items, host) if slack else message.as_json(items, host, datetime.now(UTC))
    headers = {"Content-Type": "application/json", "User-Agent": "reconciler"}
    request = urllib.request.Request(url, data=message.encoded(payload), headers=headers)  # noqa: S310  checked above
    opener = urllib.request.build_opener(_NoRedirect)
    with opener.open(request, timeout=_TIMEOUT_S):
        pass


def _run(target: Command, items: Sequence[Item], host: str) -> None:
    payload = message.encoded(message.as_json(items, host, datetime.now(UTC)))
    quiet = subprocess.DEVNULL
    with subprocess.Popen(
        target.argv, stdin=subprocess.PIPE, stdout=quiet, stderr=quiet, start_new_session=True
    ) as program:
        try:
            program.communicate(payload, timeout=_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise NotSent(f"it did not end within {_TIMEOUT_S:g} s and was killed") from None
        finally:
            with contextlib.suppress(ProcessLookupError):  # and whatever it started
                os.killpg(program.pid, signal.SIGKILL)
    if program.returncode:
        raise NotSent(f"it ended with {program.returncode}")


def _mail(target: Smtp, items: Sequence[Item], host: str) -> None:
    mail = EmailMessage()
    mail["Subject"] = message.headline(items, host)
    mail["From"] = target.sender
    mail["To"] = ", ".join(target.recipients)
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(message.text(items, host))
    trusted = ssl.create_default_context()
    with (
        smtplib.SMTP_SSL(target.server, target.port, timeout=_TIMEOUT_S, context=trusted)
        if target.tls == "tls"
        else smtplib.SMTP(target.server, target.port, timeout=_TIMEOUT_S)
    ) as server:
        if target.tls == "starttls":
            server.starttls(context=trusted)
        if target.user is not None and target.password is not None:
            server.login(target.user, _content(target.password))
        server.send_message(mail)


def _content(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        raise NotSent(f"cannot read {file}") from None


def _reason(error: object) -> str:
    """What the kernel or TLS said; an exception's own text may quote what was sent, its name does not."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, TimeoutError):
        return f"no answer within {_TIMEOUT_S:g} s"
    return (isinstance(error, OSError) and error.strerror) or type(error).__name__
