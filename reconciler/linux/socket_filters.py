"""Have the kernel drop some of the packets that a socket receives, by classic BPF programs (socket(7), bpf(4))."""

import ctypes
import socket
import struct

_SO_ATTACH_FILTER = 26  # asm-generic/socket.h

_LOAD_BYTE = 0x30  # BPF_LD | BPF_B | BPF_ABS
_AND = 0x54  # BPF_ALU | BPF_AND | BPF_K
_JUMP_IF_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_RETURN = 0x06  # BPF_RET | BPF_K

_TCP_FLAGS_AT = 13
_SYN, _ACK = 0x02, 0x10
_WHOLE = 0xFFFFFFFF

# Each instruction is (code, how far to jump if true, if false, value). A packet begins with its TCP header here.
_WITHOUT_FIRST_PACKETS = (
    (_LOAD_BYTE, 0, 0, _TCP_FLAGS_AT),
    (_AND, 0, 0, _SYN | _ACK),
    (_JUMP_IF_EQUAL, 0, 1, _SYN),
    (_RETURN, 0, 0, 0),
    (_RETURN, 0, 0, _WHOLE),
)


def ignore_new_connections(listener: socket.socket) -> None:
    """Have a listener of TCP receive no new connection, in any process; those in its queue can still be accepted.

    A client that connects from now on sends its first packet again after a second, to whatever listens there by then.
    Raises OSError.
    """
    program = b"".join(struct.pack("HBBI", *instruction) for instruction in _WITHOUT_FIRST_PACKETS)
    instructions = ctypes.create_string_buffer(program)
    described = struct.pack("HP", len(_WITHOUT_FIRST_PACKETS), ctypes.addressof(instructions))
    listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, described)
