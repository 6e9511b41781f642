"""Back-off: how long to wait before what failed is tried again."""

from reconciler.linux.dataclass import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Seconds between attempts: `first_s`, doubling, never over `cap_s`, 25% of jitter either way."""

    first_s: float = 1.0
    cap_s: float = 60.0

    def delay_s(self, failures: int, noise: float) -> float:
        """Return the delay after that many failures in a row (1 or more); `noise` is between 0 and 1."""
        return float(min(self.cap_s, self.first_s * 2.0 ** min(failures - 1, 32)) * (0.75 + 0.5 * noise))
