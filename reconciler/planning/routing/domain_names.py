"""Write DNS names in one way, and say what is wrong with those that are none.

A name comes out in lower case, without the dot of the root, with other alphabets as their ASCII form (IDNA).
"""

import re

_LABEL = re.compile("[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_LONGEST = 253
# IDNA 2003, which Python has, and IDNA 2008, which browsers use, disagree about these.
_DISPUTED = frozenset("ßς\u200c\u200d")
# Names that no public authority certifies: the internal one of the proxy does (RFC 6761, 6762, 8375).
PRIVATE = ("localhost", "local", "internal", "home.arpa", "test")
ANY = "*."


def domain_name(written: str) -> str:
    """Return a domain name in its one form; `*.example.com` stays a wildcard. Raises ValueError in words."""
    name = written.removesuffix(".").lower()
    wildcard, name = (ANY, name.removeprefix(ANY)) if name.startswith(ANY) else ("", name)
    if not name.isascii():
        name = _ascii(name)
    if len(wildcard + name) > _LONGEST:
        raise ValueError(f"is longer than the {_LONGEST} characters of a host name")
    labels = name.split(".")
    if not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError("is no host name (letters, digits, '-' and dots; '*.' at most at its beginning)")
    if labels[-1].isdigit():
        raise ValueError("is an address, and no host name")
    return wildcard + name


def is_private(name: str) -> bool:
    """Return whether no public authority certifies a name, as it has no meaning beyond this host or its network."""
    return "." not in name or any(name == each or name.endswith(f".{each}") for each in PRIVATE)


def is_wildcard(name: str) -> bool:
    """Return whether a name stands for all names one level below another."""
    return name.startswith(ANY)


def any_below(name: str) -> str:
    """Return the wildcard that covers a name; of a wildcard, itself."""
    return name if is_wildcard(name) else f"{ANY}{name.partition('.')[2]}"


def exact_first(name: str) -> tuple[bool, int, str]:
    """Return what names are sorted by, so that one before another is never covered by it."""
    return is_wildcard(name), -name.count("."), name


def _ascii(name: str) -> str:
    if disputed := _DISPUTED.intersection(name):
        letter = min(disputed)
        shown = letter if letter.isprintable() else f"U+{ord(letter):04X}"
        raise ValueError(f"has {shown}, which programs encode differently: write its xn-- form")
    try:
        return ".".join(label.encode("idna").decode("ascii") for label in name.split("."))
    except UnicodeError:
        raise ValueError("is no host name: it has letters that no name can have") from None
