"""Connect from a port of one's choice, to an address of this host."""

import asyncio
import errno
import random
import socket
from collections.abc import Sequence

_TAKEN = frozenset((errno.EADDRINUSE, errno.EADDRNOTAVAIL))


async def connected_from(ports: Sequence[int], host: str, port: int) -> socket.socket:
    """Return a connection to a port, from the same address and one of these ports that is free. Raises OSError.

    The caller owns it.
    """
    loop = asyncio.get_running_loop()
    for mine in random.sample(ports, len(ports)):
        line = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
        try:
            line.setblocking(False)
            line.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # that of a connection that is over
            line.bind((host, mine))
            await loop.sock_connect(line, (host, port))
        except BaseException as error:
            line.close()
            if not isinstance(error, OSError) or error.errno not in _TAKEN:
                raise
        else:
            return line
    raise OSError(errno.EADDRINUSE, "every port to connect from is taken")
