"""Notify by a command, which gets the message as JSON on its standard input."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, Self

from reconciler.linux.dataclass import dataclass
from reconciler.notifications import payloads
from reconciler.notifications.digest import Entry
from reconciler.notifications.target import NotSent

if TYPE_CHECKING:
    from reconciler.notifications.own_thread import OwnThread


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A program and its arguments, run without a shell."""

    REQUIRED: ClassVar[tuple[str, ...]] = ("argv",)
    OPTIONAL: ClassVar[tuple[str, ...]] = ()

    argv: tuple[str, ...]

    def __str__(self) -> str:
        return f"the command {self.argv[0]}"

    @classmethod
    def problem(cls, _: Mapping[str, Any]) -> str:
        return ""

    @classmethod
    def parse(cls, fields: Mapping[str, Any], _: str) -> Self:
        return cls(argv=tuple(fields["argv"]))

    async def send(self, entries: Sequence[Entry], host: str, _: "OwnThread", within_s: float) -> None:
        """Run the command; it and all it started are killed when it takes too long."""
        # Only the daemon, which has loaded these already, runs commands.
        import asyncio

        from reconciler.linux.child_processes import running

        pipe, null = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
        try:
            async with running(self.argv, within_s, stdin=pipe, stdout=null, stderr=null) as program:
                await program.communicate(payloads.encoded(payloads.as_json(entries, host, datetime.now(UTC))))
        except TimeoutError:
            raise NotSent(f"it did not end within {within_s:g} s and was killed") from None
        if program.returncode:
            raise NotSent(f"it ended with {program.returncode}")
