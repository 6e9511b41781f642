"""Decide about what all programs of a host share: when to look again, and which app has too much of it."""

from collections.abc import Mapping

# Shares of what the host may have: beyond the first one it is looked at more often, and beyond the second one the app
# with the most is ended, if it has as much as the third.
_SOON, _FULL, _MANY = 0.2, 0.6, 0.1
_EVERY_S, _SOON_S = 5.0, 1.0


def look_again_s(used: int, most: int) -> float:
    """Return the seconds until the next look at what has been `used`, of `most`."""
    return _SOON_S if used > _SOON * most else _EVERY_S


def is_full(used: int, most: int) -> bool:
    """Whether so much is used that soon no program could get any more."""
    return used > _FULL * most


def largest(what: str, used: int, most: int, of_apps: Mapping[str, int]) -> tuple[str, str]:
    """Return the app to be ended on a host that is full, and what its processes have; two times "" for none.

    One that has little ends nothing by its end: what is used is that of others then.
    """
    app = max(of_apps, key=lambda name: (of_apps[name], name), default="")
    if not app or of_apps[app] < _MANY * most:
        return "", ""
    # What a process shares with those that it has forked counts for each of them, and once for the host.
    has = min(of_apps[app], used)
    return app, f"its processes have {has:,} of the host's {most:,} {what}"
