"""Divide the connections of one address between two listening sockets (SO_REUSEPORT), by a program in the kernel.

The program is classic BPF, made here of fixed instructions and one number: any user may attach it, and the weights are
exact. It stays with the sockets whatever becomes of the process that attached it, and each new one replaces the last at
once. The sockets are numbered by when they began to listen.

A client on this host may choose its socket by the port that it connects from, so that each can be probed.
"""

import ctypes
import socket
import struct
from typing import Literal, TypeAlias

By: TypeAlias = Literal["connection", "client"]

# What a whole is divided into.
WHOLE = 1000
# From these ports of the very address that it connects to, a client reaches the first socket, or the second, as long as
# both get connections. They are below those that Linux gives to clients, unless a host says otherwise.
TO_FIRST, TO_SECOND = range(20480, 20512), range(20512, 20544)

# <asm-generic/socket.h>
_ATTACH = 51
# <linux/bpf_common.h>, <linux/filter.h>
_LOAD_WORD, _LOAD_HALF, _LOAD_BYTE, _REMAINDER, _AND, _SHIFT, _TIMES = 0x20, 0x28, 0x30, 0x94, 0x54, 0x74, 0x24
_XOR_X, _TO_X, _EQUAL, _EQUAL_X, _AT_LEAST, _JUMP, _RETURN = 0xAC, 0x07, 0x15, 0x1D, 0x35, 0x05, 0x06
_RANDOM, _NETWORK_HEADER = 0xFFFFF038, 0xFFF00000
_IPV4_SOURCE, _IPV6_SOURCE = 12, (8, 12, 16, 20)
# The last word of source and target, and the port that a connection comes from, behind a header without options.
_IPV4_ENDS, _IPV6_ENDS = (12, 16, 20), (20, 36, 40)
_SCATTER = 0x9E3779B1  # 2**32 divided by the golden ratio: neighbours come out far apart

_Instruction: TypeAlias = tuple[int, int, int, int]  # what, how far if so, how far if not, with which number


def divide(listening: socket.socket, weight: int, by: By = "connection") -> None:
    """Give the second socket at an address so many of WHOLE new connections, and the first one the rest.

    Either socket is as good, and while there is only one it gets all. `by` "client", every connection of one source
    address goes to the same. Raises OSError if the kernel cannot (before Linux 4.5), or if the sockets do not share
    their port.
    """
    instructions = [*_drawn(by), (_REMAINDER, 0, 0, WHOLE), (_AT_LEAST, 0, 1, weight), _returns(0), _returns(1)]
    if 0 < weight < WHOLE:
        instructions = [*_chosen(), *instructions]
    program = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *each) for each in instructions))
    listening.setsockopt(socket.SOL_SOCKET, _ATTACH, struct.pack("HP", len(instructions), ctypes.addressof(program)))


def why_not() -> str:
    """Return why the kernel divides no connections here, "" if it does."""
    try:
        with socket.socket() as alone:
            alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            alone.bind(("127.0.0.1", 0))
            divide(alone, 0)
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _chosen() -> list[_Instruction]:
    """Return the socket that a client on this host chooses; go on behind this if it chooses none."""
    ports = [
        (_AT_LEAST, 0, 4, TO_FIRST.start),
        (_AT_LEAST, 3, 0, TO_SECOND.stop),
        (_AT_LEAST, 1, 0, TO_SECOND.start),
        _returns(0),
        _returns(1),
    ]
    return [
        (_LOAD_BYTE, 0, 0, _NETWORK_HEADER),
        (_AND, 0, 0, 0xF0),
        (_EQUAL, 0, 6, 0x60),
        *_from_here(_IPV6_ENDS, skipped=len(ports) + 6),
        (_JUMP, 0, 0, 5),
        *_from_here(_IPV4_ENDS, skipped=len(ports)),
        *ports,
    ]


def _from_here(ends: tuple[int, int, int], *, skipped: int) -> list[_Instruction]:
    """Load the port that a connection comes from; of one from another address, go on behind `skipped` more."""
    source, target, port = ends
    loaded = (_LOAD_HALF, 0, 0, _NETWORK_HEADER + port)
    return [_load(target), (_TO_X, 0, 0, 0), _load(source), (_EQUAL_X, 0, skipped + 1, 0), loaded]


def _drawn(by: By) -> list[_Instruction]:
    """Load a number: at random, or one that depends on the source address only."""
    if by == "connection":
        return [(_LOAD_WORD, 0, 0, _RANDOM)]
    ipv6 = [_load(_IPV6_SOURCE[0])]
    for at in _IPV6_SOURCE[1:]:
        ipv6 += [(_TO_X, 0, 0, 0), _load(at), (_XOR_X, 0, 0, 0)]
    return [
        (_LOAD_BYTE, 0, 0, _NETWORK_HEADER),
        (_AND, 0, 0, 0xF0),
        (_EQUAL, 0, len(ipv6) + 1, 0x60),
        *ipv6,
        (_EQUAL, 1, 1, 0),  # past the other way to load: unconditional, as both ways are the same
        _load(_IPV4_SOURCE),
        (_TIMES, 0, 0, _SCATTER),
        (_SHIFT, 0, 0, 12),
    ]


def _load(at: int) -> _Instruction:
    return (_LOAD_WORD, 0, 0, _NETWORK_HEADER + at)


def _returns(number: int) -> _Instruction:
    return (_RETURN, 0, 0, number)
