"""Names that links serve: which need nothing of their own, and a configuration that stays as it is when they change."""

from dataclasses import replace

import pytest

from reconciler.planning.routing.caddy import Abilities, whole
from reconciler.planning.routing.linked_names import Link, configured, is_linked, links_of
from reconciler.planning.routing.observed import ObservedProxy
from reconciler.planning.routing.plan import Routes, plan, wanted
from reconciler.planning.routing.route import Front, Route
from reconciler.planning.routing.routing import Routing

SHOP = Route(app="shop", routing=Routing(domains=("a.example.com",)), upstream="unix/../listeners/shop.sock", key="k")
AT_PORT = replace(SHOP, app="blog", routing=Routing(domains=("b.example.com",)), upstream="127.0.0.1:8001")


def of(**different: object) -> Route:
    return replace(SHOP, routing=replace(SHOP.routing, **different))  # type: ignore[arg-type]


def asked(*routes: Route) -> Routes:
    return Routes(routes=routes, front=Front(), driver="kept", links=True)


def settled(routes: Routes) -> ObservedProxy:
    seen = ObservedProxy(config={}, seen_at=100.0, running=True, version=(2, 11, 7), links=links_of(routes.routes))
    return replace(seen, config=wanted(routes, seen))


def first(routes: Routes, observed: ObservedProxy) -> str:
    return str(plan(routes, observed, 100.5).first)


@pytest.mark.parametrize(
    "route",
    [
        AT_PORT,
        of(redirects=("www.example.com",)),
        of(below="/api"),
        of(tls="off"),
        of(tls="internal"),
        of(http="serve"),
        of(hsts_s=1.0),
        of(body_limit=1),
        of(answer_timeout_s=1.0),
        of(login="/users"),
        of(allow_from=("10.0.0.0/8",)),
        of(domains=("*.example.com",)),
        of(domains=("a" * 60 + "." + "b" * 60 + ".com",)),
        replace(SHOP, stopped=True),
        replace(SHOP, patience_s=9.0),
        replace(SHOP, files="/static"),
    ],
)
def test_what_needs_anything_of_its_own_is_in_the_configuration(route: Route) -> None:
    assert not is_linked(route)
    assert configured((SHOP, route)) == (route,)


def test_a_name_is_a_link_to_its_socket_with_the_key_of_its_app() -> None:
    private = of(domains=("a.localhost", "b.localhost"), tls="internal")
    assert links_of((SHOP, AT_PORT)) == {"a.example.com": Link(target="../listeners/shop.sock", key="k")}
    assert set(links_of((private,))) == {"a.localhost", "b.localhost"}


def test_the_configuration_is_the_same_whatever_names_there_are() -> None:
    one, other = asked(SHOP), asked(SHOP, of(domains=("other.example.com",)))
    assert wanted(one, settled(one)) == wanted(other, settled(one))
    assert "a.example.com" not in str(wanted(one, settled(one)))
    assert "b.example.com" in str(wanted(asked(SHOP, AT_PORT), settled(one)))


def test_a_new_name_is_linked_before_the_configuration_leaves_it_and_an_old_one_after() -> None:
    before, at_port = asked(SHOP), asked(replace(SHOP, upstream="127.0.0.1:8001"))
    assert first(before, settled(at_port)) == "link the names"
    linked = replace(settled(at_port), links=links_of((SHOP,)))
    assert first(before, linked) == "configure the proxy"
    assert first(at_port, settled(before)) == "configure the proxy"
    told = replace(settled(at_port), links=links_of((SHOP,)))
    assert first(at_port, told) == "link the names"
    assert first(before, replace(settled(before), answers={})) == "try the domains"


def test_an_older_caddy_has_every_name_in_its_configuration() -> None:
    old = replace(settled(asked(SHOP)), version=(2, 6, 2))
    assert "a.example.com" in str(wanted(asked(SHOP), old))


def test_only_names_that_a_manifest_may_have_lead_into_the_directories() -> None:
    import re

    made = whole((), Front(), Abilities(), "log", links=True)
    server = made["apps"]["http"]["servers"]["reconciler"]
    pattern = server["routes"][1]["match"][0]["vars_regexp"]["{http.request.host}"]["pattern"]
    for name in ("a", "a.b", "xn--a.example.com", "1-2.x"):
        assert re.search(pattern, name), name
    for name in (
        "",
        ".",
        "..",
        "../x",
        "a/..",
        "a..b",
        "*",
        "a*",
        "[a]",
        "A.b",
        "a.",
        "-a",
        "a_b",
        "{env.HOME}",
        "a\nb",
    ):
        assert not re.search(pattern, name), name
