"""What the stories of every type need to know of a server and its type."""

import asyncio
import os
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from typing import Protocol

from reconciler.services.provisioner import Credentials, Grant, Provisioner, Server, ServiceSpec
from tests.servers.asked import Killed

_STEP = 1 if os.environ.get("RECONCILER_TESTS") == "nightly" else 3


def ever_later() -> Iterator[int]:
    """The numbers of the requests at which a story is cut short: of each one nightly, every day of one in three."""
    return count(1, _STEP)


class Countdown:
    """Ends the daemon at its so manieth request to a server, or cancels it while the server carries that out."""

    def __init__(self, dies_at: int, *, cancelled: bool) -> None:
        self.left = dies_at
        self._cancelled = cancelled

    def step(self) -> None:
        self.left -= 1
        if self.left == 0 and not self._cancelled:
            raise Killed
        if self.left == 0:
            task = asyncio.current_task()
            assert task is not None
            asyncio.get_running_loop().call_soon(task.cancel)


class Adapter(Protocol):
    """A server that runs, and its type.

    `rejected` is what an admin with a wrong password is told; `requests` how many of them provisioning and binding, or
    unbinding and deprovisioning, take at the least.
    """

    type: str
    rejected: str
    requests: int

    @property
    def server(self) -> Server:
        """As the host's settings would name it."""
        ...

    @property
    def admins(self) -> Mapping[str, Server]:
        """The admin who may do everything, and the one who may do what the documentation says it must."""
        ...

    @property
    def at_socket(self) -> Server | None:
        """The server as it is reached at a socket, None when it has none."""
        ...

    @property
    def port(self) -> int: ...

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def provisioner(self) -> Provisioner: ...

    def mortal(self, countdown: Countdown) -> Provisioner:
        """A provisioner whose requests count down."""
        ...

    def at_port(self, port: int) -> Server:
        """The server as if its admin were to be asked at another port."""
        ...

    def made(self, service: ServiceSpec) -> list[str]:
        """Everything on the server that has the service's id in its name."""
        ...

    def has_user(self, user: str) -> bool: ...

    async def store(self, credentials: Credentials) -> None:
        """Store something, as an app would."""
        ...

    async def opens(self, credentials: Credentials) -> bool:
        """Whether an app gets in."""
        ...

    def changes(self, grant: Grant, credentials: Credentials) -> Iterator[Callable[[], object]]:
        """What somebody may do to a service behind the daemon's back."""
        ...

    def log(self) -> str | None:
        """What the server wrote down, None when it writes nothing about users."""
        ...
