"""Say how long to wait before an origin is fetched again. Pure."""

import hashlib

from reconciler.planning.origins.observed import FetchFailure

_FIRST_RETRY_S = 5.0
_LONGEST_RETRY_S = 900.0
_LEAST_AFTER_429_S = 60.0


def wait_s(failure: FetchFailure | None, every_s: float, deviation: float) -> float:
    """Return the seconds to wait: the interval of this host, or longer after every failure in a row."""
    if failure is None:
        return every_s * (1 + deviation)
    longest_s = max(every_s, _LONGEST_RETRY_S)
    delay_s = min(longest_s, min(every_s, _FIRST_RETRY_S) * 2.0 ** min(failure.count - 1, 16))
    return max(delay_s, _LEAST_AFTER_429_S) if failure.code == "rate-limited" else delay_s


def renewal_wait_s(renewals: int) -> float:
    """Return the seconds until what was fetched is fetched once more into a new store, after so many times in a row."""
    return min(_LONGEST_RETRY_S, _FIRST_RETRY_S * 2.0 ** min(renewals - 1, 16))


def deviation_of(host: str, origin: str) -> float:
    """Return by how much a host deviates from the interval: between -0.1 and 0.1, always the same."""
    digest = hashlib.sha256(f"{host}/{origin}".encode()).digest()
    return int.from_bytes(digest[:4], "big") / 2**32 * 0.2 - 0.1
