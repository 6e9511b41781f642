"""Where on this host packages come from."""

from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.settings.package_places import package_places
from reconciler.settings.settings import Settings
from reconciler.state.paths import StatePaths


@pytest.mark.parametrize(
    ("variables", "found"),
    [
        ({"UV_INDEX": "ours=http://localhost:3141/root other=https://pypi.org"}, ["127.0.0.1:3141", "[::1]:3141"]),
        ({"PIP_INDEX_URL": "https://me:word@127.0.0.2/simple"}, ["127.0.0.2:443"]),
        ({"https_proxy": "http://[::1]:3128"}, ["[::1]:3128"]),
        ({"ALL_PROXY": "socks5://10.0.0.1"}, ["10.0.0.1:1080"]),
        (
            {"PIP_FIND_LINKS": "/opt/wheels", "UV_DEFAULT_INDEX": "http://[::1", "HTTP_PROXY": "http://1.2.3.4:99999"},
            [],
        ),
        ({"DATABASE_URL": "http://127.0.0.1:5432"}, []),
    ],
)
def test_places_are_those_of_addresses_in_the_variables_of_installers(
    variables: dict[str, str], found: list[str], tmp_path: Path
) -> None:
    settings = Settings(manifests=tmp_path, paths=StatePaths(state=tmp_path))
    assert [*map(str, package_places(settings, variables))] == found
    secret = {"UV_INDEX_URL": tmp_path / "secret"}
    assert [*map(str, package_places(replace(settings, staging_env={**variables, **secret}), {}))] == found
