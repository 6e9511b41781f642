"""Write expressions of nf_tables rules, and the attributes that they are made of, as netlink messages have them.

The numbers are those of linux/netfilter/nf_tables.h. Registers of 16 bytes are 1 to 4; `WORD` is the first of
those of 4 bytes, which the same memory has, one behind the other.
"""

import struct

NESTED = 0x8000
ATTRIBUTE = struct.Struct("=HH")
NETWORK_HEADER, TRANSPORT_HEADER = 1, 2
SKUID, SKGID, OUTPUT_TYPE, PROTOCOL_FAMILY, TRANSPORT = 10, 11, 9, 15, 16
EQUAL, DIFFERENT = 0, 1
ACCEPT, JUMP, GOTO, RETURN = 1, -3, -4, -5
WORD = 8
_RESET, _UNREACHABLE, _PROHIBITED = 1, 2, 3


def protocol(number: int) -> bytes:
    """Match packets of a protocol."""
    return meta(TRANSPORT) + compare(bytes([number]))


def meta(key: int, register: int = 1) -> bytes:
    """Load what is known of a packet besides its bytes."""
    return expression("meta", number(2, key) + number(1, register))


def payload(base: int, offset: int, length: int, register: int = 1) -> bytes:
    """Load bytes of a packet."""
    return expression("payload", number(1, register) + number(2, base) + number(3, offset) + number(4, length))


def mask(bits: bytes) -> bytes:
    """Keep these bits of what was loaded."""
    values = nest(4, attribute(1, bits)) + nest(5, attribute(1, bytes(len(bits))))
    return expression("bitwise", number(1, 1) + number(2, 1) + number(3, len(bits)) + values)


def compare(value: bytes, how: int = EQUAL) -> bytes:
    """Match if what was loaded is this value, or is another."""
    return expression("cmp", number(1, 1) + number(2, how) + nest(3, attribute(1, value)))


def among(name: str, register: int = 1) -> bytes:
    """Match if what was loaded from this register on is in a set."""
    return expression("lookup", text(1, name) + number(2, register))


def chosen_by(name: str) -> bytes:
    """Go where a map leads what was loaded; match nothing that is not in it."""
    return expression("lookup", text(1, name) + number(2, 1) + number(3, 0) + number(4, 1))


def decide(code: int, chain: str = "") -> bytes:
    """End with a verdict."""
    return expression("immediate", number(1, 0) + nest(2, verdict(code, chain)))


def verdict(code: int, chain: str = "") -> bytes:
    """Return a verdict as data."""
    return nest(2, attribute(1, struct.pack(">i", code)) + (text(2, chain) if chain else b""))


def expression(name: str, content: bytes) -> bytes:
    """Return an expression of a rule."""
    return nest(1, text(1, name) + nest(2, content))


def attribute(kind: int, content: bytes) -> bytes:
    """Return an attribute, with the padding behind it."""
    length = ATTRIBUTE.size + len(content)
    return ATTRIBUTE.pack(length, kind) + content + bytes(-length % 4)


def nest(kind: int, content: bytes) -> bytes:
    """Return an attribute that is made of attributes."""
    return attribute(kind | NESTED, content)


def number(kind: int, value: int) -> bytes:
    """Return a number as an attribute."""
    return attribute(kind, value.to_bytes(4, "big"))


def text(kind: int, words: str) -> bytes:
    """Return a text as an attribute."""
    return attribute(kind, words.encode() + b"\0")


COUNTED = expression("counter", b"")
RESET = COUNTED + expression("reject", number(1, _RESET) + attribute(2, b"\0"))
PROHIBITED = COUNTED + expression("reject", number(1, _UNREACHABLE) + attribute(2, bytes([_PROHIBITED])))
