"""A hostile build backend of an isolated app reaches no app, no service of this host, and no metadata of a cloud."""

import json
import os
import socket
from typing import Any

import pytest

from reconciler.isolation.app_users import AppUsers
from tests.support.probe_of_isolation import LACKS, NO_BUILDER, NO_USERS
from tests.support.site import Site
from tests.system.test_network_lists import table

__all__ = ["table"]

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(bool(LACKS or NO_USERS), reason=f"no files or users of their own here: {LACKS or NO_USERS}"),
]

_BUILD = """
import json, os, socket
def attempt(kind, *place):
    with socket.socket(socket.AF_INET, kind) as own:
        own.settimeout(60)
        try:
            own.connect(place)
            own.send(b"x")
        except OSError as error:
            return type(error).__name__
    return "through"
said = [attempt(socket.SOCK_STREAM, "127.0.0.1", port) for port in PORTS]
said += [attempt(socket.SOCK_DGRAM, *place) for place in (("127.0.0.1", PORTS[0]), ("169.254.169.254", 9))]
said += [os.getuid(), len(os.getgroups())]
try:
    os.setresgid(0, 0, 0)
    said.append("root's group")
except OSError:
    pass
open(os.path.join(os.path.dirname(__file__), "tries.json"), "w").write(json.dumps(said))

def build_wheel(directory, *_):
    import zipfile
    with zipfile.ZipFile(os.path.join(directory, "pkg-1-py3-none-any.whl"), "w") as wheel:
        wheel.writestr("pkg.py", "")
        wheel.writestr("pkg-1.dist-info/METADATA", "Metadata-Version: 2.1\\nName: pkg\\nVersion: 1\\n")
        wheel.writestr("pkg-1.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr("pkg-1.dist-info/RECORD", "")
    return "pkg-1-py3-none-any.whl"
"""
_BACKEND = """
[build-system]
requires = []
build-backend = "attack"
backend-path = ["."]
[project]
name = "pkg"
version = "1"
"""


def building(site: Site, *ports: int, app: str = "client", **fields: Any) -> None:
    site.app(app, isolation="strict", **fields)
    code = site.root / "apps" / app
    (code / "pkg").mkdir()
    site.save(code / "pkg/attack.py", _BUILD.replace("PORTS", str(list(ports))))
    site.save(code / "pkg/pyproject.toml", _BACKEND)
    site.save(code / "requirements.txt", "./pkg\n")


def tries(site: Site, app: str = "client") -> list[Any]:
    found = sorted(site.paths.builds(app).rglob("tries.json"), key=lambda each: each.stat().st_mtime)
    said: list[Any] = json.loads(found[-1].read_text())
    return said


@pytest.mark.parametrize("connect", [None, "none", ["10.0.0.1"], ["all"]])
def test_a_build_reaches_no_app_no_service_of_this_host_and_no_metadata(
    site: Site, table: str, connect: list[str] | str | None
) -> None:
    one = site.app("one")
    with socket.create_server(("127.0.0.1", 0)) as of_nobody:
        network: dict[str, Any] = {} if connect is None else {"network": {"connect": connect}}
        building(site, one, of_nobody.getsockname()[1], **network)
        site.live()
        site.await_settled("one", "client", within=120)
        refused = ["ConnectionRefusedError"] * 2 + ["PermissionError"] * 2
        assert tries(site) == [*refused, *_who(site)]


@pytest.mark.skipif(bool(NO_BUILDER), reason=NO_BUILDER or "-")
def test_each_app_is_built_by_another_user_and_all_are_held(site: Site, table: str) -> None:
    one = site.app("one")
    for app in ("client", "other"):
        building(site, one, app=app)
    site.live()
    site.await_settled("one", "client", "other", within=120)
    found = {app: tries(site, app) for app in ("client", "other")}
    assert {tuple(said[:-2]) for said in found.values()} == {("ConnectionRefusedError", *["PermissionError"] * 2)}
    users = AppUsers(site.paths, range(70_000, 80_000))
    assert users.builders() == {said[-2]: app for app, said in found.items()}
    assert len(users.builders()) == 2


def _who(site: Site) -> tuple[int, int]:
    """Return the user of a build, and how many groups it has besides its own."""
    builder = os.geteuid() if NO_BUILDER else AppUsers(site.paths, range(70_000, 80_000)).of_builds("client")
    return builder, 1


def test_a_build_reaches_what_the_manifest_names(site: Site, table: str) -> None:
    one = site.app("one")
    with socket.create_server(("127.0.0.1", 0)) as of_nobody:
        building(site, one, of_nobody.getsockname()[1], network={"connect": ["all", f"127.0.0.1:{one}"]})
        site.live()
        site.await_settled("one", "client", within=120)
        assert tries(site)[:3] == ["through", "ConnectionRefusedError", "through"]
