"""Tell whether an address is this host's own, whichever interface has it."""

import socket
from contextlib import suppress

_ANY_PORT = 9


def is_own(address: str) -> bool:
    """Whether what is sent to an address stays on this host: what is sent there would come from it. Sends nothing."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as line:
        line.connect((address, _ANY_PORT))
        return str(line.getsockname()[0]) == address
    return False
