"""Files for other proxies: no byte of a value leaves its string, and the proxies themselves accept what is written."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.planning.routing.file_formats import text_of
from reconciler.planning.routing.file_words import Unquotable, is_plain_path
from reconciler.planning.routing.route import Front, Route
from reconciler.planning.routing.routing import Certificate, Routing
from tests.support.certificates import write_certificate

FORMATS = ("nginx", "haproxy", "traefik")
SBIN = f"{os.environ.get('PATH', '')}:/usr/sbin"
NGINX, HAPROXY = shutil.which("nginx", path=SBIN), shutil.which("haproxy", path=SBIN)
ANYTHING = st.text(max_size=20) | st.sampled_from(
    ['"; }', "a\nb", "${x}", "$x", "`", "'", "\\", "a b", "\x00", "#", "{{ }}"]
)
HASH = "$2b$12$" + "a" * 53


def routes(chain: str = "/c.pem", key: str = "/k.pem", login: str = "/users") -> tuple[Route, ...]:
    files = {"tls": "files", "certificate": Certificate(chain=chain, key=key), "hsts_s": 86400.0}
    return (
        made("shop", ("shop.example.com", "*.example.com"), redirects=("www.example.com",), **files),
        made(
            "api", ("shop.example.com",), below="/api", strip=True, body_limit=1000, allow_from=("10.0.0.0/8",), **files
        ),
        made("plain", ("plain.example.com",), tls="off", login=login, answer_timeout_s=9.0),
        Route(
            app="gone", routing=Routing(domains=("gone.example.com",)), upstream="127.0.0.1:4", key="k", stopped=True
        ),
    )


def made(app: str, domains: tuple[str, ...], **options: Any) -> Route:
    accounts = (("ann", HASH),) if "login" in options else None
    return Route(
        app=app, routing=Routing(domains=domains, **options), upstream="127.0.0.1:8001", key="k" * 32,
        accounts=accounts, certificate_id="c" if "certificate" in options else "",
    )  # fmt: skip


@pytest.mark.parametrize("name", FORMATS)
@given(
    value=ANYTHING, field=st.sampled_from(["domain", "redirect", "below", "chain", "key", "login", "upstream", "app"])
)
def test_a_value_that_a_format_could_misread_is_refused(name: str, value: str, field: str) -> None:
    value = f"/zq{value}zq" if field in {"below", "chain", "key", "login"} else f"zq{value}zq"
    certificate = Certificate(chain=value if field == "chain" else "/c", key=value if field == "key" else "/k")
    route = Route(
        app=value if field == "app" else "a",
        routing=Routing(
            domains=(value if field == "domain" else "a.example.com",),
            redirects=(value,) if field == "redirect" else (),
            below=value if field == "below" else "/b",
            tls="files",
            certificate=certificate,
            login=value if field == "login" else None,
        ),
        upstream=value if field == "upstream" else "127.0.0.1:1",
        key="k",
        certificate_id="c",
    )  # fmt: skip
    try:
        text = text_of(name, (route,), Front())
    except Unquotable:
        return
    if name == "traefik":
        json.loads(text.partition("\n")[2])
        return
    assert re.fullmatch(r"[A-Za-z0-9_.:/~+@=, \[\]*-]*", value) or value not in text


def test_a_path_that_is_plain_has_no_quote_blank_line_or_variable() -> None:
    assert is_plain_path("/etc/ssl/a b/shop.pem")
    assert not any(map(is_plain_path, ("relative", "/a\nb", '/a"b', "/a$b", "/a;b", "/a{b", "/a'b", "/a\\b")))


@pytest.mark.skipif(NGINX is None, reason="no nginx is installed ('scripts/servers nginx' installs one)")
def test_nginx_accepts_what_is_written_for_it(tmp_path: Path) -> None:
    chain, key = write_certificate(tmp_path, "shop.example.com")
    (tmp_path / "users").write_text(f"ann:{HASH}\n")
    for trusted in ((), ("10.0.0.0/8",)):
        front = Front(http=18080, https=18443, trusted=trusted)
        text = text_of("nginx", routes(str(chain), str(key), str(tmp_path / "users")), front)
        (tmp_path / "ours.conf").write_text(text)
        temporary = "".join(
            f"{each}_temp_path {tmp_path}/{each};" for each in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        (tmp_path / "nginx.conf").write_text(
            f"pid {tmp_path}/pid; events {{}} http {{ access_log off; {temporary} include {tmp_path}/ours.conf; }}"
        )
        words = [str(NGINX), "-t", "-c", str(tmp_path / "nginx.conf"), "-e", str(tmp_path / "log")]
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, f"{done.stderr}\n{text}"


@pytest.mark.skipif(HAPROXY is None, reason="no HAProxy is installed ('scripts/servers haproxy' installs one)")
def test_haproxy_accepts_what_is_written_for_it(tmp_path: Path) -> None:
    chain, key = write_certificate(tmp_path, "shop.example.com")
    key.rename(f"{chain}.key")
    text = text_of("haproxy", routes(str(chain), f"{chain}.key"), Front(http=18080, https=18443, address="127.0.0.1"))
    (tmp_path / "ours.cfg").write_text(text)
    words = [str(HAPROXY), "-c", "-f", str(tmp_path / "ours.cfg")]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, f"{done.stderr}{done.stdout}\n{text}"


def test_traefik_gets_a_router_for_each_place_and_scheme() -> None:
    config = json.loads(text_of("traefik", routes(), Front()).partition("\n")[2])
    rules = sorted({each["rule"] for each in config["http"]["routers"].values()})
    assert "Host(`shop.example.com`)" in rules
    assert "Host(`shop.example.com`) && (Path(`/api`) || PathPrefix(`/api/`))" in rules
    assert config["tls"]["certificates"] == [{"certFile": "/c.pem", "keyFile": "/k.pem"}]
    assert set(config["http"]["services"]) == {
        "reconciler-shop",
        "reconciler-api",
        "reconciler-plain",
        "reconciler-gone",
    }
    # One that is stopped has no server, which is answered with 503; no connection to an app is kept.
    assert config["http"]["services"]["reconciler-gone"]["loadBalancer"]["servers"] == []
    assert config["http"]["serversTransports"]["reconciler-plain"] == {
        "maxIdleConnsPerHost": -1,
        "forwardingTimeouts": {"responseHeaderTimeout": "9s"},
    }
    # A name that redirects has a router for each scheme, and goes before a wildcard that covers it.
    routers = config["http"]["routers"].values()
    redirects = [each for each in routers if each["rule"] == "Host(`www.example.com`)"]
    assert sorted((each["entryPoints"][0], "tls" in each) for each in redirects) == [
        ("web", False),
        ("websecure", True),
    ]
    wildcards = [each["priority"] for each in routers if each["rule"].startswith("HostRegexp")]
    assert max(wildcards) < min(each["priority"] for each in redirects)
    # What a client forges is removed, but for what Traefik says itself; the app is told by the key who says it.
    told = config["http"]["middlewares"]["reconciler-shop-client"]["headers"]["customRequestHeaders"]
    assert (told["Forwarded"], told["SCRIPT_NAME"], told["X-Reconciler-Client"]) == ("", "", f"{'k' * 32} -")
    assert "X-Real-Ip" not in told
