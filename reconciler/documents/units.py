"""Parse durations and sizes as people write them (`1h30m`, `256M`); anything else raises ValueError.

A plain number is one wherever YAML has one, `1e3` and `.5` too, as in every other field.
"""

import re
from functools import lru_cache

_NUMBER = re.compile(r"[-+]?(?:[0-9]{1,18}(?:\.[0-9]{0,40})?|\.[0-9]{1,40})(?:[eE][-+]?[0-9]{1,2})?")
_DURATION = re.compile(
    r"(?:(?P<d>[0-9]{1,9})d)?(?:(?P<h>[0-9]{1,9})h)?(?:(?P<m>[0-9]{1,9})m(?!s))?"
    r"(?:(?P<s>[0-9]{1,9}(?:\.[0-9]{1,9})?)s)?(?:(?P<ms>[0-9]{1,9})ms)?"
)
_SECONDS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_MAX_S = 366 * 86400.0

_SHARE = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,4})?)\s*%")
_SIZE = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)\s*([KMGT]?)(?:i?B)?", re.IGNORECASE)
_MAX_BYTES = 10**12 * 1024**4
_POWER = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}


def duration_s(written: str | float) -> float:
    """Return the seconds of `500ms`, `10s`, `5m`, `1h30m`, `2d`, or a plain number of seconds; at most 366 days.

    >>> duration_s("1h30m")
    5400.0
    """
    is_number = isinstance(written, int | float) and not isinstance(written, bool)
    seconds = float(written) if is_number else _seconds(str(written))
    if not 0 <= seconds <= _MAX_S:
        raise ValueError(f"a duration must be between 0 and 366 days, not {written}")
    return seconds


@lru_cache(256)  # the manifests of a host repeat a few durations
def _seconds(text: str) -> float:
    if (number := plain_number(text)) is not None:
        return number
    if text and (match := _DURATION.fullmatch(text)):
        return sum(float(amount) * _SECONDS[unit] for unit, amount in match.groupdict().items() if amount)
    raise ValueError(_expected_duration(text))


def size_bytes(written: str | float) -> int:
    """Return the bytes of `256M`, `1G`, `1.5GiB`, `512kB` or a plain number of bytes; K is 1024, as usual for memory.

    >>> size_bytes("256M")
    268435456
    """
    text = str(written).strip()
    number = plain_number(text)
    if number is not None and 0 <= number < _MAX_BYTES and not isinstance(written, bool):
        return int(number)
    match = _SIZE.fullmatch(text)
    if isinstance(written, bool) or not match:
        raise ValueError(f"expected a size such as 256M or 1G, not {str(written)!r}")
    return int(float(match[1]) * 1024 ** _POWER[match[2].upper()])


def share_of_one(written: str | float) -> float:
    """Return the share of `70%`, or of a number from 0 to 1.

    >>> share_of_one("70%")
    0.7
    """
    text = str(written).strip()
    number, match = plain_number(text), _SHARE.fullmatch(text)
    value = float(match[1]) / 100 if match is not None else -1.0 if number is None else number
    if isinstance(written, bool) or not 0 <= value <= 1:
        raise ValueError(f"expected a share such as 70%, not {text!r}")
    return value


def whole_number(written: object) -> int:
    """Return the number of `3`, `3.0` or `1e3`, as text or as YAML has it; raises ValueError for any other.

    >>> whole_number("1e3")
    1000
    """
    number = None if isinstance(written, bool) else plain_number(str(written))
    if number is None or not number.is_integer():
        raise ValueError(f"expected a whole number, not {str(written)!r}")
    return int(number)


def plain_number(text: str) -> float | None:
    """Return the number that YAML takes a text for, None if that is something else.

    >>> plain_number("1e3"), plain_number("1 000")
    (1000.0, None)
    """
    return float(text) if _NUMBER.fullmatch(text) else None


def _expected_duration(text: str) -> str:
    return f"expected a duration such as 10s, 1m30s or 500ms, not {text!r}"
