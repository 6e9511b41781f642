"""Notify by mail."""

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypeAlias

from reconciler.linux.dataclass import dataclass
from reconciler.notifications import payloads
from reconciler.notifications.digest import Entry
from reconciler.notifications.target import NotSent, content_of

if TYPE_CHECKING:
    from email.message import EmailMessage

    from reconciler.notifications.own_thread import OwnThread

Tls: TypeAlias = Literal["starttls", "tls", "none"]

_PORTS: Mapping[str, int] = {"tls": 465, "starttls": 587, "none": 25}


@dataclass(frozen=True, slots=True, kw_only=True)
class Smtp:
    """A mail server, a sender and recipients; `password` is the file that contains it.

    `ca` is a file with the only authorities to trust its certificate from; without it, they are this host's.
    """

    REQUIRED: ClassVar[tuple[str, ...]] = ("server", "from", "recipients")
    OPTIONAL: ClassVar[tuple[str, ...]] = ("port", "tls", "user", "password", "ca")

    server: str
    port: int
    sender: str
    recipients: tuple[str, ...]
    tls: Tls = "starttls"
    user: str | None = None
    password: Path | None = None
    ca: Path | None = None

    def __str__(self) -> str:
        return f"mail by {self.server}"

    @classmethod
    def problem(cls, fields: Mapping[str, Any]) -> str:
        if ("user" in fields) != ("password" in fields):
            return "requires 'user' and 'password' together"
        if "user" in fields and fields.get("tls") == "none":
            return "would send a password without encryption: use 'tls: starttls' or 'tls: tls'"
        return ""

    @classmethod
    def parse(cls, fields: Mapping[str, Any], folder: str) -> Self:
        tls, password = fields.get("tls", "starttls"), fields.get("password")
        return cls(
            server=fields["server"],
            port=fields.get("port", _PORTS[tls]),
            sender=fields["from"],
            recipients=tuple(fields["recipients"]),
            tls=tls,
            user=fields.get("user"),
            password=None if password is None else Path(folder, password["file"]),
            ca=Path(folder, fields["ca"]) if "ca" in fields else None,
        )

    async def send(self, entries: Sequence[Entry], host: str, thread: "OwnThread", within_s: float) -> None:
        """Send the message as a mail."""
        subject, text = payloads.headline(entries, host), payloads.text(entries, host)
        await thread.run(lambda: self._send(self._mail(subject, text), within_s), within_s)

    def _mail(self, subject: str, text: str) -> "EmailMessage":
        from email.message import EmailMessage

        mail = EmailMessage()
        mail["Subject"] = subject
        mail["From"] = self.sender
        mail["To"] = ", ".join(self.recipients)
        mail["Auto-Submitted"] = "auto-generated"
        mail.set_content(text)
        return mail

    def _send(self, mail: "EmailMessage", timeout_s: float) -> None:
        # Only a host that notifies by mail loads what mails.
        import smtplib

        try:
            self._hand_over(mail, timeout_s)
        except TimeoutError:
            raise
        except (OSError, ValueError, smtplib.SMTPException) as error:
            raise NotSent(_reason(error)) from None

    def _hand_over(self, mail: "EmailMessage", timeout_s: float) -> None:
        import smtplib

        from reconciler.notifications import tls

        trust = tls.context(self.ca)
        server = (
            smtplib.SMTP_SSL(self.server, self.port, timeout=timeout_s, context=trust)
            if self.tls == "tls"
            else smtplib.SMTP(self.server, self.port, timeout=timeout_s)
        )
        with contextlib.closing(server):
            if self.tls == "starttls":
                server.starttls(context=trust)
            if self.user is not None and self.password is not None:
                server.login(self.user, content_of(self.password))
            server.send_message(mail)
            # The server has the mail. Waiting for an answer to this could fail, and the mail would be sent again.
            with contextlib.suppress(OSError, smtplib.SMTPException):
                server.putcmd("quit")


def _reason(error: Exception) -> str:
    """Return what TLS, the kernel or the mail server said; a server's text may quote a password, its code does not."""
    import smtplib

    from reconciler.notifications.tls import tls_reason

    match error:
        case smtplib.SMTPResponseException():
            return f"the mail server answered {error.smtp_code}"
        case smtplib.SMTPRecipientsRefused():
            codes = sorted({str(code) for code, _ in error.recipients.values()})
            return f"the mail server refused every recipient: {', '.join(codes)}"
        case smtplib.SMTPNotSupportedError():
            return f"the mail server does not support this: {error}"
        case smtplib.SMTPServerDisconnected():
            return "the mail server closed the connection"
    return tls_reason(error)
