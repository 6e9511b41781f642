"""What is shown of a proxy has neither the keys of apps nor the hashes of their users, in any format."""

import json
from pathlib import Path

import pytest

from reconciler.inspection.domains import wanted_text
from reconciler.planning.routing.caddy import Abilities, whole
from reconciler.planning.routing.file_formats import text_of
from reconciler.planning.routing.route import Front, Route
from reconciler.planning.routing.routing import Routing

KEY = "0123456789abcdef" * 2
HASH = "$2y$05$" + "a" * 53


@pytest.mark.parametrize("driver", ["kept", "nginx", "haproxy", "traefik"])
def test_keys_and_hashes_are_masked(tmp_path: Path, driver: str) -> None:
    routing = Routing(domains=("shop.example.com",), tls="off", login="/etc/users")
    route = Route(app="shop", routing=routing, upstream="127.0.0.1:8000", key=KEY, accounts=(("ann", HASH),))
    kept = driver == "kept"
    config = whole((route,), Front(), Abilities(), "log") if kept else text_of(driver, (route,), Front())
    record = tmp_path / "wanted"
    record.write_text(json.dumps({"config": config}))
    shown = wanted_text(record)
    assert "shop.example.com" in shown
    assert KEY not in shown
    assert HASH not in shown
