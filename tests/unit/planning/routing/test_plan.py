"""What is done about the proxy, and when: a change at once after a quiet time, then no more than one in a while."""

from dataclasses import replace

from reconciler.planning.routing.caddy import Abilities, spliced
from reconciler.planning.routing.observed import Answer, AppFiles, ObservedProxy
from reconciler.planning.routing.plan import Driver, Routes, led, plan, published, wanted
from reconciler.planning.routing.route import Entry, Front, Route
from reconciler.planning.routing.routing import Routing

BLANK = ObservedProxy()


def asked(*names: str, driver: Driver = "host", **options: object) -> Routes:
    routes = tuple(
        Route(app=name.partition(".")[0], routing=Routing(domains=(name,), **options), upstream="127.0.0.1:1", key="k")  # type: ignore[arg-type]
        for name in names
    )
    return Routes(routes=routes, front=Front(), driver=driver)


def first(routes: Routes | None, observed: ObservedProxy, now: float = 100.0) -> str:
    action = plan(routes, observed, now).first
    return "" if action is None else f"{action} ({action.cause})"


def settled(routes: Routes) -> ObservedProxy:
    """A proxy that has what it is to have, with names that are served."""
    seen = ObservedProxy(config={}, seen_at=100.0, running=routes.driver == "kept")
    answers = {
        name: Answer(at=100.0, again_at=3700.0, state="served") for each in routes.routes for name in each.routing.names
    }
    return replace(seen, config=wanted(routes, seen), answers=answers)


def test_it_is_looked_at_before_anything_is_done() -> None:
    assert first(asked("a.example.com"), BLANK) == "look at the proxy (its time has come)"


def test_a_proxy_of_our_own_is_started_with_all_names() -> None:
    action = plan(asked("a.localhost", driver="kept"), ObservedProxy(config={}, seen_at=100.0), 100.0).first
    assert str(action) == "start the proxy"
    assert "a.localhost" in str(getattr(action, "config", ""))


def test_a_new_name_is_published_at_once_and_the_next_waits_until_that_has_settled() -> None:
    before = settled(asked("a.example.com"))
    both = asked("a.example.com", "b.example.com")
    assert first(both, before) == "configure the proxy (b.example.com is new)"
    told = replace(before, changed_at=99.0)
    waiting = plan(both, told, 100.0)
    assert waiting.first is None
    assert waiting.recheck_at == 101.0
    assert first(both, told, 101.0).startswith("configure the proxy")


def test_what_differs_for_no_known_reason_is_repaired() -> None:
    routes = asked("a.example.com")
    drifted = replace(settled(routes), config={"apps": {"http": {"servers": {"srv0": {"listen": [":443"]}}}}})
    assert first(routes, drifted) == "configure the proxy (a.example.com is new)"


def test_nothing_is_done_about_a_proxy_that_is_as_it_should_be() -> None:
    for driver in ("host", "kept", "nginx", "haproxy", "traefik"):
        routes = asked("a.example.com", driver=driver)
        found = plan(routes, settled(routes), 100.5)
        assert (found.first, found.state, found.settled) == (None, "ready", True), driver


def test_names_are_tried_when_they_are_new_and_the_state_says_what_is_wrong_with_them() -> None:
    routes = asked("a.example.com", "b.example.com")
    observed = settled(routes)
    bad = Answer(at=100.0, again_at=130.0, state="unserved", message="has no certificate yet: rate limited")
    observed = replace(observed, answers={"a.example.com": bad})
    assert first(routes, observed) == "try the domains (their time has come)"
    observed = replace(observed, answers={**settled(routes).answers, "a.example.com": bad})
    found = plan(routes, observed, 101.0)
    assert (found.state, found.message) == ("degraded", "a.example.com has no certificate yet: rate limited")
    assert found.reason == "domain-unserved"


def test_one_apps_unreadable_file_takes_no_name_of_another_away() -> None:
    routes = Routes(
        routes=(
            *asked("a.example.com").routes,
            *asked("b.example.com", login="/users").routes,
        ),
        front=Front(),
        driver="host",
    )
    observed = ObservedProxy(
        config={}, seen_at=100.0, files={"b": AppFiles(problem="the domains of b are not published")}
    )
    assert wanted(routes, observed) == spliced({}, asked("a.example.com").routes, Front(), Abilities())
    assert plan(routes, observed, 100.0).state == "starting"


def test_without_a_domain_what_is_ours_goes_away_and_a_proxy_of_our_own_ends() -> None:
    routes = asked("a.example.com")
    had = replace(settled(routes), left=True)
    action = plan(None, had, 100.0).first
    assert str(action) == "configure the proxy"
    assert getattr(action, "config", None) == {}
    assert first(None, replace(had, running=True)) == "end the proxy (no app has a domain any more)"
    assert first(None, replace(had, left=False)) == ""


def test_an_app_is_led_to_where_it_is_reached_and_one_that_is_reached_nowhere_is_not_published() -> None:
    there = Entry(dial="10.0.0.5:80")
    routes = replace(
        asked("a.example.com"), routes=(replace(asked("a.example.com").routes[0], upstream="", files="/f"),)
    )
    assert published(routes, BLANK) == ()
    (local,) = published(routes, replace(BLANK, upstreams={"a": "127.0.0.1:7"}))
    assert (local.upstream, local.key, local.entry) == ("127.0.0.1:7", "k", None)
    (route,) = published(routes, replace(BLANK, entries={"a": there}))
    # It gets no key, with which it could say who a client is, and has no file of this host.
    assert (route.upstream, route.entry, route.key, route.files) == ("10.0.0.5:80", there, "", "")


def test_where_the_proxy_leads_is_known_only_while_it_has_what_it_is_to_have() -> None:
    routes, there = asked("a.example.com"), {"a": Entry(dial="10.0.0.5:80", place="prod")}
    here = settled(routes)
    assert led(routes, here) == {"a": "here"}
    assert led(routes, replace(here, config=None)) is None
    moving = replace(here, entries=there)
    assert led(routes, moving) is None
    assert led(routes, replace(moving, config=wanted(routes, moving))) == {"a": "prod"}
