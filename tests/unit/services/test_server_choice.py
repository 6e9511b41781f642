"""The server of a service, or what to write where when there is none."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from reconciler.planning.services.service import Service
from reconciler.services.provisioner import Misconfigured
from reconciler.services.registry import WITHOUT_SERVER
from reconciler.services.server_choice import server_name
from reconciler.settings.file import parse
from reconciler.settings.settings import ServiceServer, Settings
from reconciler.state.paths import StatePaths

SETTINGS = Settings(manifests=Path("/manifests"), paths=StatePaths(state=Path("/state")))
TYPES = ("postgresql", "mysql", "redis", "rabbitmq", "broker")


def asked(of_type: str, **different: str) -> Service:
    return Service(name="db", manifest="/manifests/db.yaml", type=of_type, **different)  # type: ignore[arg-type]


@pytest.mark.parametrize("of_type", TYPES)
def test_without_a_server_the_message_says_what_to_write_in_which_file(of_type: str) -> None:
    with pytest.raises(Misconfigured) as raised:
        server_name(asked(of_type), SETTINGS)
    said = str(raised.value)
    assert "add one under services.servers in /etc/reconciler/host.yaml (or the file that --settings names)" in said
    example = said.partition("such as '")[2].partition("'")[0]
    written = yaml.safe_dump({"services": {"servers": yaml.safe_load(example)}}).encode()
    settings = parse("/host.yaml", written, SETTINGS).applied(SETTINGS)
    assert server_name(asked(of_type), settings) == "main"


def test_the_settings_file_in_use_is_named() -> None:
    settings = replace(SETTINGS, file=Path("/srv/host.yaml"))
    with pytest.raises(Misconfigured, match=r"no PostgreSQL server is configured: add one .* in /srv/host.yaml, such"):
        server_name(asked("postgresql"), settings)
    with pytest.raises(Misconfigured, match=r"the host's settings \(/srv/host.yaml\) have no mysql server 'main'"):
        server_name(asked("mysql", server="main"), settings)
    several = replace(settings, servers={name: ServiceServer(name=name, type="redis") for name in ("a", "b")})
    with pytest.raises(Misconfigured, match=r"\(/srv/host.yaml\) have several servers of type redis \(a, b\)"):
        server_name(asked("redis"), several)


def test_types_without_a_server_need_none() -> None:
    assert {server_name(asked(of_type), SETTINGS) for of_type in WITHOUT_SERVER} == {None}
