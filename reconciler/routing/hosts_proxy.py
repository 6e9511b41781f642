"""What holds of every proxy that is the host's own, however it is told: others start and end it."""

from typing import Any

from reconciler.routing.admin import ProxyError


class HostsProxy:
    """A proxy that the host's supervisor keeps; nothing of its process is known here."""

    @property
    def running(self) -> bool:
        return False

    @property
    def version(self) -> tuple[int, ...]:
        return ()

    async def start(self, config: Any) -> None:  # noqa: ARG002  as every driver has it
        raise ProxyError("the proxy is the host's: its own supervisor starts it")

    async def end(self) -> None:
        raise ProxyError("the proxy is the host's: its own supervisor ends it")

    def close(self) -> None:
        """Nothing is watched."""
