"""What every way to tell a proxy has in common."""

from typing import Any, Protocol


class Driver(Protocol):
    """A proxy: what it has, and how it is given something else. Everything raises ProxyError if it cannot."""

    @property
    def running(self) -> bool:
        """Whether the proxy that the daemon keeps runs; of another one it is not known, and False."""
        ...

    @property
    def version(self) -> tuple[int, ...]:
        """The version of the proxy, () if it is not known."""
        ...

    async def start(self, config: Any) -> None:
        """Start it with a configuration; only of one that the daemon keeps."""
        ...

    async def look(self) -> Any:
        """Return the configuration that it has."""
        ...

    async def configure(self, config: Any) -> None:
        """Give it a configuration in place of the one that was looked at last."""
        ...

    async def end(self) -> None:
        """End it; only of one that the daemon keeps."""
        ...

    def close(self) -> None:
        """Stop watching it; it goes on."""
        ...
