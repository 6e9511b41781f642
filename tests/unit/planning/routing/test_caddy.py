"""Caddy's configuration of all routes: nothing of the operator's is touched, and no value leaves its string."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.planning.routing.caddy import Abilities, names_in, ours_in, spliced, whole, without
from reconciler.planning.routing.route import CLIENT_HEADER, FORGEABLE_HEADERS, PREFIX_HEADER, Entry, Front, Route
from reconciler.planning.routing.routing import Certificate, Routing

TODAY = Abilities()
LABEL = st.from_regex("[a-z][a-z0-9]{0,8}", fullmatch=True)
NAME = st.builds("{}.{}".format, LABEL, st.sampled_from(["example.com", "localhost"]))
ROUTING = st.builds(
    Routing,
    domains=st.lists(NAME, min_size=1, max_size=3, unique=True).map(tuple),
    below=st.sampled_from(["/", "/api", "/a/b"]),
    strip=st.booleans(),
    tls=st.sampled_from(["auto", "internal", "off"]),
    http=st.sampled_from(["redirect", "serve"]),
    hsts_s=st.none() | st.floats(0, 1e6),
    body_limit=st.none() | st.integers(1, 10**9),
    allow_from=st.sampled_from([(), ("10.0.0.0/8",)]),
)
ROUTE = st.builds(Route, app=LABEL, routing=ROUTING, upstream=st.just("127.0.0.1:8001"), key=st.just("k" * 32))
ROUTES = st.lists(ROUTE, max_size=4).map(tuple)
# What an operator may have: servers at our ports and at others, policies, other apps.
OWN_ROUTE = st.fixed_dictionaries({"handle": st.just([{"handler": "static_response"}])}, optional={"@id": LABEL})
SERVER = st.fixed_dictionaries(
    {"listen": st.sampled_from([[":443"], [":80"], [":9000"]])}, optional={"routes": st.lists(OWN_ROUTE, max_size=2)}
)
THEIRS = st.fixed_dictionaries(
    {},
    optional={
        "admin": st.just({"listen": "unix//run/caddy/admin.sock"}),
        "apps": st.fixed_dictionaries(
            {},
            optional={
                "http": st.fixed_dictionaries({"servers": st.dictionaries(LABEL, SERVER, max_size=3)}),
                "tls": st.just({"automation": {"policies": [{"subjects": ["own.example.com"]}]}}),
            },
        ),
    },
)


def route(name: str = "shop.example.com", app: str = "shop", **options: Any) -> Route:
    return Route(app=app, routing=Routing(domains=(name,), **options), upstream="127.0.0.1:8001", key="k" * 32)


def first_handlers(config: Any, server: str = "reconciler") -> list[Any]:
    return [
        handler
        for each in config["apps"]["http"]["servers"][server]["routes"][1]["handle"][0]["routes"]
        for handler in each["handle"]
    ]


@given(THEIRS, ROUTES)
def test_what_is_not_ours_comes_out_as_it_went_in(theirs: dict[str, Any], routes: tuple[Route, ...]) -> None:
    before = json.dumps(theirs, sort_keys=True)
    config = spliced(theirs, routes, Front(), TODAY)
    assert json.dumps(theirs, sort_keys=True) == before  # it is not changed in place
    left = without(config)
    assert _routes(left) == _routes(theirs)
    assert left.get("admin") == theirs.get("admin")
    assert left.get("apps", {}).get("tls", {}) == theirs.get("apps", {}).get("tls", {})


@given(THEIRS, ROUTES)
def test_to_put_it_in_again_makes_no_difference(theirs: dict[str, Any], routes: tuple[Route, ...]) -> None:
    once = spliced(theirs, routes, Front(), TODAY)
    assert spliced(once, routes, Front(), TODAY) == once
    assert names_in(once) == {name for each in routes for name in each.routing.names}


@given(THEIRS, ROUTES)
def test_our_part_is_the_same_wherever_it_is_put(theirs: dict[str, Any], routes: tuple[Route, ...]) -> None:
    alone, among = (ours_in(spliced(each, routes, Front(), TODAY)) for each in ({}, theirs))
    assert alone == among


def _routes(config: dict[str, Any]) -> Any:
    servers = config.get("apps", {}).get("http", {}).get("servers") or {}
    return {name: (server["listen"], server.get("routes") or []) for name, server in servers.items()}


def test_our_routes_come_first_in_the_operators_server_at_our_port() -> None:
    theirs = {"apps": {"http": {"servers": {"srv0": {"listen": [":443"], "routes": [{"handle": []}]}}}}}
    servers = spliced(theirs, (route(),), Front(), TODAY)["apps"]["http"]["servers"]
    assert [each.get("@id") for each in servers["srv0"]["routes"]] == ["reconciler:https:shop.example.com!", None]
    assert servers["reconciler-http"]["listen"] == [":80"]


def test_an_upstream_keeps_no_connection_and_streams_survive_a_change() -> None:
    websocket, proxy = first_handlers(whole((route(),), Front(), TODAY, "log"))
    assert websocket == {key: value for key, value in proxy.items() if key != "request_buffers"}
    assert proxy["transport"]["keep_alive"] == {"enabled": False}
    assert proxy["load_balancing"]["try_duration"] == 5_000_000_000
    assert proxy["stream_close_delay"] == 86400_000_000_000


def test_http_3_is_left_to_caddy_unless_the_settings_say_no_and_never_touched_in_a_server_of_the_operators() -> None:
    without_it = Front(http3=False)
    assert "protocols" not in whole((route(),), Front(), TODAY, "/log")["apps"]["http"]["servers"]["reconciler"]
    made = whole((route(),), without_it, TODAY, "/log")["apps"]["http"]["servers"]
    assert made["reconciler"]["protocols"] == ["h1", "h2"]
    assert "protocols" not in made["reconciler-http"]
    assert spliced({}, (route(),), without_it, TODAY)["apps"]["http"]["servers"]["reconciler"]["protocols"]
    theirs = {"apps": {"http": {"servers": {"own": {"listen": [":443"]}}}}}
    assert "protocols" not in spliced(theirs, (route(),), without_it, TODAY)["apps"]["http"]["servers"]["own"]


def test_behind_a_trusted_network_an_app_is_told_its_client_and_no_chain() -> None:
    alone, _ = first_handlers(whole((route(),), Front(), TODAY, "log"))
    assert "X-Forwarded-For" not in alone["headers"]["request"]["set"]
    behind, _ = first_handlers(whole((route(),), Front(trusted=("10.0.0.0/8",)), TODAY, "log"))
    assert behind["headers"]["request"]["set"]["X-Forwarded-For"] == ["{http.vars.client_ip}"]


@pytest.mark.parametrize("strip", [False, True])
def test_what_clients_forge_is_deleted_once_before_all_routes_and_in_the_operators_caddy_in_ours_alone(
    strip: bool,
) -> None:
    routes = tuple(
        route(f"{name}.example.com", name, below="/api", strip=strip, http="serve") for name in ("a", "b", "c")
    )
    forged = {*FORGEABLE_HEADERS, PREFIX_HEADER, "*_*"}
    servers = whole(routes, Front(), TODAY, "log", links=True)["apps"]["http"]["servers"]
    for name in ("reconciler", "reconciler-http"):
        first, *others = servers[name]["routes"]
        assert first.keys() == {"handle"}  # whatever the request is, and the routes after it come next
        (cleaned,) = first["handle"]
        assert cleaned["handler"] == "headers"
        assert set(cleaned["request"]["delete"]) == forged
        assert "delete" not in json.dumps(others)
    theirs = {"apps": {"http": {"servers": {"own": {"listen": [":443"], "routes": [{"handle": []}]}}}}}
    own = spliced(theirs, routes, Front(), TODAY)["apps"]["http"]["servers"]["own"]["routes"]
    assert own[3:] == [{"handle": []}]
    for each in own[:3]:
        asked = each["handle"][0]["routes"][0]["handle"][0]["headers"]["request"]
        assert {*asked["delete"], *asked["set"]} == forged | {CLIENT_HEADER}


def test_an_older_caddy_gets_no_field_that_it_refuses() -> None:
    old = Abilities.of((2, 6, 2))
    text = json.dumps(whole((route(allow_from=("10.0.0.0/8",)),), Front(trusted=("10.0.0.0/8",)), old, "log"))
    assert not any(word in text for word in ("stream_close_delay", "client_ip", "strict", "request_buffers"))
    assert "trusted_proxies" in text


def test_the_longest_path_of_a_name_wins_and_a_redirect_keeps_the_path() -> None:
    api = Route(
        app="api", routing=Routing(domains=("a.example.com",), below="/api", strip=True), upstream="127.0.0.1:2"
    )
    site = route("a.example.com", "site", redirects=("www.a.example.com",))
    config = whole((site, api), Front(), TODAY, "log")
    routes = config["apps"]["http"]["servers"]["reconciler"]["routes"][1:]
    assert [each["match"][0].get("path") for each in routes[:2]] == [["/api", "/api/*"], None]
    assert routes[0]["handle"][0]["routes"][0]["handle"][0]["rewrite"] == {"strip_path_prefix": "/api"}
    assert routes[2]["handle"][0]["headers"]["Location"] == ["https://a.example.com{http.request.uri}"]


def test_names_that_only_lead_to_tls_are_one_route_and_no_wildcard_comes_before_an_exact_name() -> None:
    served = route("a.example.com", "a", http="serve")
    routes = (route("b.example.com", "b"), route("c.example.com", "c"), route("*.example.com", "all"), served)
    found = whole(routes, Front(), TODAY, "proxy.log")["apps"]["http"]["servers"]["reconciler-http"]["routes"]
    hosts = [each["match"][0]["host"] for each in found[1:-1]]
    assert hosts == [["a.example.com"], ["b.example.com", "c.example.com"], ["*.example.com"]]
    assert names_in({"apps": {"http": {"servers": {"x": {"routes": found}}}}}) == {
        name for each in hosts for name in each
    }


def test_a_private_name_is_certified_by_the_proxy_itself_and_a_public_one_by_the_authority_of_the_settings() -> None:
    routes = (route("a.localhost"), route("b.example.com", "b"), route("c.example.com", "c", tls="off"))
    config = whole(routes, Front(email="ops@example.com"), TODAY, "log")
    policies = config["apps"]["tls"]["automation"]["policies"]
    assert [(each["subjects"], each["issuers"][0]["module"]) for each in policies] == [
        (["b.example.com"], "acme"),
        (["a.localhost"], "internal"),
    ]


def test_another_content_of_a_certificate_is_another_configuration() -> None:
    files = Certificate(chain="/c.pem", key="/k.pem")
    routing = Routing(domains=("a.example.com",), tls="files", certificate=files)
    made = [
        Route(app="a", routing=routing, upstream="127.0.0.1:1", certificate_id=content) for content in ("one", "two")
    ]
    one, two = (whole((each,), Front(), TODAY, "log") for each in made)
    assert one != two
    assert one["apps"]["tls"]["certificates"]["load_files"][0]["certificate"] == "/c.pem"


def test_a_stopped_app_answers_503_and_keeps_its_certificate() -> None:
    stopped = Route(app="a", routing=Routing(domains=("a.example.com",)), upstream="127.0.0.1:1", stopped=True)
    (answer,) = first_handlers(whole((stopped,), Front(), TODAY, "log"))
    assert answer["status_code"] == 503


ROUTE_ID = {"@id": "reconciler:https:shop.example.com!"}


@pytest.mark.parametrize(
    "apps",
    [
        None,
        {"http": None, "tls": None},
        {"http": {"servers": None}, "tls": {"automation": None, "certificates": None}},
        {"http": {"servers": {"a": None}}},
        {"http": {"servers": {"a": {"listen": None, "routes": None}}}},
        {"http": {"servers": {"a": {"routes": [ROUTE_ID]}}}},
        {"http": {"servers": {"a": {"routes": [{**ROUTE_ID, "match": None}]}}}},
        {"http": {"servers": {"a": {"routes": [{**ROUTE_ID, "match": [{"path": ["/"]}, None]}]}}}},
        {"http": {"servers": {"a": {"routes": [{**ROUTE_ID, "match": [{"host": None}]}]}}}},
    ],
)
def test_what_another_program_has_made_of_a_configuration_is_repaired_and_stops_nothing(apps: Any) -> None:
    config = {"apps": apps}
    assert names_in(config) == frozenset()
    assert ours_in(config).keys() == {"routes", "policies", "load_files"}
    assert names_in(spliced(config, (route(),), Front(), TODAY)) == {"shop.example.com"}
    assert names_in(without(config)) == frozenset()


@pytest.mark.parametrize("links", [False, True])
def test_certificates_of_an_authority_of_ones_own_are_looked_at_often_enough_for_those_of_minutes(links: bool) -> None:
    def automation(ca: str) -> Any:
        return whole((route(),), Front(ca=ca), TODAY, "log", links=links)["apps"]["tls"].get("automation", {})

    assert automation("https://ca.example.com/directory")["renew_interval"] == 60 * 10**9
    assert "renew_interval" not in automation("")


@pytest.mark.parametrize("tls", ["auto", "off"])
def test_how_often_the_operators_caddy_looks_at_certificates_is_left_to_them(tls: str) -> None:
    config = spliced({}, (route(tls=tls),), Front(ca="https://ca.example.com/directory"), TODAY)
    assert "renew_interval" not in json.dumps(config)
    assert ("tls" in config["apps"]) == (tls == "auto")


def proxied(entry: Entry | None, **routing: Any) -> dict[str, Any]:
    """How requests of a route are passed on."""
    route = Route(
        app="shop", routing=Routing(domains=("a.localhost",), **routing), upstream="10.0.0.5:443", entry=entry
    )
    config = whole((route,), Front(), TODAY, "log")
    (found,) = (each for each in config["apps"]["http"]["servers"]["reconciler"]["routes"] if "@id" in each)
    handlers = [each for part in found["handle"][0]["routes"] for each in part["handle"]]
    last: dict[str, Any] = handlers[-1]
    return last


def test_a_cluster_is_asked_by_the_name_that_the_client_asked_for() -> None:
    over_tls = proxied(Entry(dial="10.0.0.5:443", tls=True, ca="/ca.pem"))
    name = {"server_name": "{http.request.host}", "root_ca_pem_files": ["/ca.pem"]}
    assert over_tls["transport"]["tls"] == name
    assert over_tls["headers"]["request"]["set"] == {"Host": ["{http.request.hostport}"]}
    plain = proxied(Entry(dial="10.0.0.5:80"))
    assert "tls" not in plain["transport"]
    assert plain["headers"]["request"]["set"] == {"Host": ["{http.request.hostport}"]}


def test_a_prefix_is_taken_off_once_by_the_route_of_the_cluster_or_by_the_proxy() -> None:
    strip = {"below": "/shop", "strip": True}
    assert "rewrite" not in proxied(Entry(dial="10.0.0.5:80"), **strip)
    assert proxied(Entry(dial="10.0.0.5:80", routed=False), **strip)["rewrite"] == {"strip_path_prefix": "/shop"}
    assert proxied(None, **strip)["rewrite"] == {"strip_path_prefix": "/shop"}
