"""Tell the host's own Caddy, which others configure as well, over its admin socket."""

from pathlib import Path
from typing import Any

from reconciler.routing.admin import AdminSocket, ProxyError


class HostCaddy:
    """A Caddy that is kept by others: its configuration is read whole, and replaced only if it is still that one."""

    def __init__(self, admin: Path) -> None:
        self._admin = AdminSocket(admin)
        self._tag = ""

    @property
    def running(self) -> bool:
        return False

    @property
    def version(self) -> tuple[int, ...]:
        return ()

    async def start(self, config: Any) -> None:  # noqa: ARG002  as every driver has it
        raise ProxyError("the proxy is the host's: its own supervisor starts it")

    async def look(self) -> Any:
        config, self._tag = await self._admin.config()
        return config or {}

    async def configure(self, config: Any) -> None:
        await self._admin.replace(config, self._tag)

    async def end(self) -> None:
        raise ProxyError("the proxy is the host's: its own supervisor ends it")

    def close(self) -> None:
        """Nothing is watched."""
