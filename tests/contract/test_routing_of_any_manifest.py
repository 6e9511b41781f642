"""Manifests with domains of any text: refused in words, or a configuration that Caddy and nginx accept."""

import json
import os
import shutil
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.manifests.app_document import HostDefaults
from reconciler.manifests.parse_file import parse
from reconciler.planning.routing.caddy import Abilities, whole
from reconciler.planning.routing.file_formats import text_of
from reconciler.planning.routing.file_words import Unquotable
from reconciler.planning.routing.route import Front, Route
from tests.support.proxies import CADDIES, needs_caddy, version

pytestmark = [pytest.mark.nightly, needs_caddy]

NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
HOSTILE = st.sampled_from(
    ['"; }', "a\nb", "${x}", "{http.request.uri}", "`", "'", "\\", "../..", "\x00", "#", "*", "%2e"]
)
TEXT = st.text(max_size=12) | HOSTILE
LABEL = st.from_regex("[a-z][a-z0-9-]{0,6}[a-z0-9]", fullmatch=True)
NAME = st.builds("{}.{}".format, LABEL, st.sampled_from(["example.com", "localhost"]))
PATH = st.builds("/{}".format, LABEL)
MANIFEST = st.fixed_dictionaries(
    {"path": st.just("/srv/x"), "domains": st.lists(NAME | TEXT, min_size=1, max_size=3, unique=True)},
    optional={
        "redirects": st.lists(NAME | TEXT, max_size=2, unique=True),
        "below": PATH | TEXT,
        "strip": st.booleans(),
        "tls": st.sampled_from(["auto", "internal", "off"]),
        "http": st.sampled_from(["redirect", "serve"]),
        "hsts": st.sampled_from(["1d", "180d", "-1d", "x"]),
        "body_limit": st.sampled_from(["1M", "0", "10G", "x"]),
        "answer_timeout": st.sampled_from(["1s", "1h", "{x}"]),
        "allow_from": st.lists(st.sampled_from(["10.0.0.0/8", "::1", "10.0.0.1/8"]) | TEXT, min_size=1, max_size=2),
        "static": st.dictionaries(PATH | TEXT, LABEL | TEXT, min_size=1, max_size=3),
    },
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.lists(MANIFEST, min_size=1, max_size=5))
def test_a_manifest_is_refused_in_words_or_becomes_what_every_proxy_accepts(manifests: list[dict[str, Any]]) -> None:
    routes, taken = [], set[str]()
    for number, manifest in enumerate(manifests):
        parsed = parse(f"/m/app{number}.yaml", yaml.safe_dump(manifest, allow_unicode=True).encode(), HostDefaults())
        assert bool(parsed.problems) != bool(parsed.apps)
        assert all(problem.message.isprintable() and problem.line > 0 for problem in parsed.problems)
        for app in parsed.apps:
            routing = app.unleased.routing
            assert routing is not None
            if not taken & {*routing.names}:
                taken |= {*routing.names}
                files = "/srv/static/app" if routing.static else ""
                routes.append(
                    Route(app=f"app{number}", routing=routing, upstream="127.0.0.1:1", key="k" * 32, files=files)
                )
    front = Front(http=18080, https=18443, address="127.0.0.1")
    with tempfile.TemporaryDirectory() as directory:
        for program in CADDIES:
            accepts_caddy(program, Path(directory), tuple(routes), front)
        if NGINX is not None:
            accepts_nginx(NGINX, Path(directory), tuple(routes), front)


def accepts_caddy(program: str, directory: Path, routes: tuple[Route, ...], front: Front) -> None:
    config = whole(routes, front, Abilities.of(version(program)), str(directory / "log"))
    (directory / "caddy.json").write_text(json.dumps(config))
    env = {**os.environ, **{name: str(directory) for name in ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME")}}
    words = [program, "validate", "--config", "caddy.json"]
    done = subprocess.run(words, cwd=directory, env=env, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, f"{done.stderr}\n{json.dumps(config)}"


def accepts_nginx(program: str, directory: Path, routes: tuple[Route, ...], front: Front) -> None:
    try:
        text = text_of("nginx", tuple(replace(route, accounts=None) for route in routes), front)
    except Unquotable:
        return
    (directory / "ours.conf").write_text(text)
    temporary = "".join(
        f"{each}_temp_path {directory}/{each};" for each in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (directory / "nginx.conf").write_text(
        f"pid {directory}/pid; events {{}} http {{ access_log off; {temporary} include {directory}/ours.conf; }}"
    )
    words = [program, "-t", "-c", str(directory / "nginx.conf"), "-e", str(directory / "error.log")]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, f"{done.stderr}\n{text}"
