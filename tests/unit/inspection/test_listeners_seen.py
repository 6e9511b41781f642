"""The listeners of a daemon as commands see them, which do not ask it: also sockets in a directory of the host's."""

import os
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.inspection.snapshot import HostSnapshot
from reconciler.linux.listening_paths import listen_at
from reconciler.planning.address import Address
from reconciler.state.paths import StatePaths
from reconciler.state.schema import open_database
from tests.world import an_app


@pytest.mark.parametrize("directory", ["listeners", "sockets of the proxy"])
def test_a_socket_that_the_daemon_has_is_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, directory: str) -> None:
    paths = StatePaths(state=tmp_path)
    open_database(paths.database).close()
    place = tmp_path / directory
    place.mkdir()
    monkeypatch.setattr(HostSnapshot, "daemon", os.getpid())
    shop = replace(an_app(), name="shop", address=Address(host=str(place / "shop.sock")))
    with closing(listen_at(place / "shop.sock", 1)), closing(HostSnapshot(paths)) as snapshot:
        assert snapshot.observed("shop", shop, None).listeners == {shop.address}
        other = replace(shop, address=Address(host=str(place / "other.sock")))
        assert snapshot.observed("shop", other, None).listeners == frozenset()
