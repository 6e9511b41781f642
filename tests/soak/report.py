"""What a soak came to, in; the same in words, and whether every promise was kept, out."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.soak.leaks import Look, mib
from tests.soak.requests import Failure, Shown

_HEADING = "## Results of the last soak"
_BEGINS_WITHIN_S = 5.0  # a new daemon, on a busy host


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """All that was seen.

    `never` names the apps that were not as asked in the end; `leaks` says what was too much; `daemon_killed_at` is on
    the clock of the requests; `command` is what does all of it again.
    """

    command: str
    apps: int
    minutes: float
    machine: str
    deeds: Counter[str]
    sent: Counter[str]
    failures: tuple[Failure, ...]
    shown: tuple[Shown, ...]
    daemon_killed_at: tuple[float, ...]
    never: tuple[str, ...]
    settled_s: float
    looks: tuple[Look, ...]
    new: Look | None
    leaks: tuple[str, ...]

    @property
    def unexcused(self) -> tuple[Failure, ...]:
        return tuple(failure for failure in self.failures if failure.excuse is None)

    @property
    def good(self) -> bool:
        """Whether nothing was lost and nothing leaked."""
        return not (self.unexcused or self.never or self.leaks)


def markdown(outcome: Outcome) -> str:
    """The section of docs/evidence/reliability.md."""
    sent = sum(outcome.sent.values())
    excused = Counter(f"{failure.excuse}: {failure.outcome}" for failure in outcome.failures if failure.excuse)
    lost = Counter(failure.outcome for failure in outcome.unexcused)
    took = sorted(each.seconds for each in outcome.shown)
    undisturbed = [each for each in outcome.shown if not _disturbed(each, outcome.daemon_killed_at)]
    lost_words = f"{len(outcome.unexcused)} failed unexpectedly{_bracketed(lost)}"
    excused_words = f"{len(outcome.failures) - len(outcome.unexcused)} failed as expected{_bracketed(excused)}"
    typical = f"median {_at(took, 0.5):.2f} s, 95 % within {_at(took, 0.95):.2f} s"
    slowest_words = f"slowest {_slowest(outcome.shown)}, and {_slowest(undisturbed)} with no daemon killed in between"
    lines = [
        _HEADING,
        "",
        f"{outcome.minutes:g} minutes, {outcome.apps} apps, {outcome.machine}; `{outcome.command}`.",
        "",
        f"- Operations: {sum(outcome.deeds.values())}: {_counted(outcome.deeds)}.",
        f"- Requests: {sent:,} sent, {outcome.sent['ok']:,} answered with 200, {lost_words}, {excused_words}.",
        f"- From an edit to the first answer that shows it, {len(took)} times: {typical}, {slowest_words}.",
        f"- At the end: {_never(outcome)}, {outcome.settled_s:.1f} s after the last operation.",
        f"- Left over or leaked: {'; '.join(outcome.leaks) or 'nothing'}.",
        "",
        "The daemon by minute. A new pid is a daemon that was killed and restarted; `fresh` has just started:",
        "",
        "```text",
        *_series(outcome.looks, outcome.new),
        "```",
    ]
    return "\n".join(lines) + "\n"


def write(section: str, document: Path) -> None:
    """Put the section in the place of the last one, or before the limits."""
    text = document.read_text(encoding="utf-8")
    found = re.search(rf"^{_HEADING}\n.*?(?=^## )", text, re.MULTILINE | re.DOTALL)
    if found is None:
        before, heading, after = text.partition("## Limits\n")
        text = f"{before}{section}\n{heading}{after}"
    else:
        text = f"{text[: found.start()]}{section}\n{text[found.end() :]}"
    document.write_text(text, encoding="utf-8")


def _series(looks: tuple[Look, ...], new: Look | None) -> list[str]:
    lines = ["  minute      pid  descriptors      memory  threads  zombies  processes   files    database"]
    for look in (*looks, *([new] if new else [])):
        when = "fresh" if look is new else f"{look.minute:.1f}"
        lines.append(
            f"{when:>8} {look.pid:>8} {look.descriptors:>12} {mib(look.memory):>11} {look.threads:>8} {look.zombies:>8}"
            f" {look.processes:>10} {look.files:>7} {mib(look.database):>11}"
        )
    return lines


def _never(outcome: Outcome) -> str:
    if outcome.never:
        return f"not up to date: {', '.join(outcome.never)}"
    return "every app up to date"


def _disturbed(shown: Shown, daemon_killed_at: Sequence[float]) -> bool:
    until = shown.since + shown.seconds
    return any(shown.since - _BEGINS_WITHIN_S < at < until for at in daemon_killed_at)


def _slowest(shown: Sequence[Shown]) -> str:
    slowest = max(shown, key=lambda each: each.seconds, default=None)
    return f"{slowest.seconds:.2f} s ({slowest.deed})" if slowest else "none"


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {what}" for what, count in counts.most_common())


def _bracketed(counts: Counter[str]) -> str:
    return f" ({_counted(counts)})" if counts else ""


def _at(ordered: list[float], part: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))] if ordered else 0.0
