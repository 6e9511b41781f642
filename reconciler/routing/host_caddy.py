"""Tell the host's own Caddy, which others configure as well, over its admin socket."""

from pathlib import Path
from typing import Any

from reconciler.routing.admin import AdminSocket
from reconciler.routing.hosts_proxy import HostsProxy


class HostCaddy(HostsProxy):
    """A Caddy that is kept by others: its configuration is read whole, and replaced only if it is still that one."""

    def __init__(self, admin: Path) -> None:
        self._admin = AdminSocket(admin)
        self._tag = ""

    async def look(self) -> Any:
        config, self._tag = await self._admin.config()
        return config or {}

    async def configure(self, config: Any) -> None:
        await self._admin.replace(config, self._tag)
