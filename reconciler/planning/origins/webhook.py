"""Say what is known of the webhook of an origin, and when to look again once it was called. Pure."""

from reconciler.linux.dataclass import dataclass

# How many commits in a row may be found without the webhook, which a git server calls once for each.
_MOST_MISSED = 2
# A replica of the server may be behind: it is looked at again at once, and less often if webhooks come all the time.
LEAST_APART_S = 0.5
QUICK_S = (LEAST_APART_S,) * 20 + (5.0, 15.0)
SLOW_S = (LEAST_APART_S, 2.0, 5.0, 15.0)
_QUICK_EVERY_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """Facts about a webhook: when it was called last, in wall-clock seconds, and how many commits it missed since."""

    called_at: float | None = None
    missed: int = 0

    def called(self, at: float) -> "Webhook":
        """Return the facts once it was called."""
        return Webhook(called_at=at)

    def with_missed(self) -> "Webhook":
        """Return the facts once a commit was found by looking alone."""
        return Webhook(called_at=self.called_at, missed=self.missed + 1)

    @property
    def doubt(self) -> str:
        """Why an operator should look after it, "" while there is no reason."""
        if self.missed <= _MOST_MISSED:
            return ""
        return f"the last {self.missed} commits were found by looking, not by the webhook: is it still set?"


def looks_after_call(since_quick_s: float | None) -> tuple[float, ...]:
    """Return how long to wait before each look that follows the first one, while nothing new is found.

    `since_quick_s` is how long ago quick looks began, None if they never did.
    """
    return QUICK_S if since_quick_s is None or since_quick_s >= _QUICK_EVERY_S else SLOW_S
