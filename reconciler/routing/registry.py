"""Choose how a proxy is told."""

from collections.abc import Callable
from pathlib import Path

from reconciler.routing.driver import Driver
from reconciler.settings.proxy import Proxy


def driver_of(proxy: Proxy, directory: Path, ended: Callable[[], None]) -> Driver:
    """Return the driver of a proxy; `ended` is called when one that the daemon keeps ends."""
    if proxy.file is not None:
        from reconciler.routing.file_proxy import FileProxy  # few hosts have another proxy than Caddy

        return FileProxy(proxy.file, directory / "reloaded")
    if not proxy.run:
        from reconciler.routing.host_caddy import HostCaddy

        return HostCaddy(proxy.admin)
    from reconciler.routing.kept_caddy import KeptCaddy

    kept = KeptCaddy(directory, proxy.program, ended)
    kept.adopt()
    return kept
