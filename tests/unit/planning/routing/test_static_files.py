"""Static files: which trees are asked for, which paths they have, and for how long clients keep a file."""

import re
from dataclasses import replace

import pytest

from reconciler.planning.routing.caddy import Abilities, whole
from reconciler.planning.routing.file_formats import text_of
from reconciler.planning.routing.observed import Answer, ObservedProxy
from reconciler.planning.routing.plan import Driver, Routes, plan, wanted
from reconciler.planning.routing.route import Front, Route
from reconciler.planning.routing.routing import Routing
from reconciler.planning.routing.static_files import content_names, directories_of, paths_of, tree_of, trees_wanted


def routing(below: str = "/", **static: str) -> Routing:
    directories = tuple((f"/{path}" if path != "top" else "/", directory) for path, directory in static.items())
    return Routing(domains=("shop.example.com",), below=below, static=directories)


def route(**options: object) -> Route:
    given = {"routing": routing(static="staticfiles"), "files": "/srv/files/shop", **options}
    return Route(app="shop", upstream="127.0.0.1:1", key="k" * 32, **given)  # type: ignore[arg-type]


def settled(asked: Routes) -> ObservedProxy:
    seen = ObservedProxy(config={}, seen_at=100.0, running=asked.driver == "kept")
    answer = Answer(at=100.0, again_at=3700.0, state="served")
    answers = {name: answer for each in asked.routes for name in each.routing.names}
    return replace(seen, config=wanted(asked, seen), answers=answers)


@pytest.mark.parametrize(
    "name",
    [
        "site.3f2a1b4c5d6e.css", "app-0123456789abcdef0123.js", "a.12345678901234567890.js", "a-1234567a.woff2",
        "a-abcdef12.js.map", "b.0a1b2c3d4e5f60718293a4b5c6d7e8f9.png",
    ],
)  # fmt: skip
def test_a_file_that_is_named_after_its_content_is_kept(name: str) -> None:
    assert re.search(content_names(), f"/static/css/{name}")


@pytest.mark.parametrize(
    "name",
    [
        "site.css", "photo-20240131.jpg", "backup.202401312359.zip", "log-1700000000000000.txt", "my-document.pdf",
        "a-1234567.js", "3f2a1b4c5d6e.css", "a.3f2a1b4c5d6e/site.css", "jquery-3.7.1.min.js", "deadbeefcafe",
    ],
)  # fmt: skip
def test_a_file_that_is_named_after_a_date_a_version_or_a_word_is_asked_for_each_time(name: str) -> None:
    assert not re.search(content_names(), f"/static/{name}")


def test_paths_are_those_that_clients_ask_for_below_the_apps_own() -> None:
    assert paths_of(routing(static="a", top="b")) == ("/static", "/")
    assert paths_of(routing("/shop", static="a", top="b")) == ("/shop/static", "/shop")
    assert directories_of(routing("/shop", static="a", top="b")) == (("/shop", "b"), ("/shop/static", "a"))


def test_another_directory_is_another_tree_of_the_same_revision() -> None:
    assert tree_of("r", routing(static="a")) == tree_of("r", routing(static="a"))
    assert (
        len({tree_of("r", each) for each in (routing(static="a"), routing(static="b"), routing("/x", static="a"))}) == 3
    )


def test_the_trees_of_two_instances_are_asked_for_and_of_a_sleeping_app_those_that_there_are() -> None:
    assert trees_wanted(("two", "one"), ("one",), {}, 9.0) == ("two", "one")
    assert trees_wanted(("three", "three", "two", "one", "zero"), (), {}, 9.0) == ("three", "two", "one")
    assert trees_wanted(("two",), ("two", "one"), {}, 9.0) == ("two",)
    assert trees_wanted((), ("two", "one"), {}, 9.0) == ("two", "one")


def test_what_is_kept_for_clients_comes_last_until_its_time_is_over_and_as_far_as_it_is_there() -> None:
    assert trees_wanted(("two",), ("two", "one"), {"one": 10.0, "gone": 10.0}, 9.0) == ("two", "one")
    assert trees_wanted(("two",), ("two", "one"), {"one": 10.0}, 10.0) == ("two",)
    kept = {"zero": 10.0, "one": 11.0}
    assert trees_wanted(("three", "two"), ("two", "one", "zero"), kept, 9.0) == ("three", "two", "one")
    asked = Routes(routes=(route(),), front=Front(), driver="host")
    shown = replace(settled(asked), alive={"shop": ("two",)}, laid={"shop": ("two", "one")})
    during = plan(asked, replace(shown, kept={"shop": {"one": 100.9}}), 100.5)
    assert (during.first, during.recheck_at) == (None, 100.9)
    after = plan(asked, replace(shown, kept={"shop": {"one": 100.9}}), 100.9)
    assert getattr(after.first, "apps", None) == (("shop", ("two",)),)


@pytest.mark.parametrize("driver", ["kept", "host", "nginx"])
def test_another_build_lays_out_files_and_leaves_the_configuration_alone(driver: Driver) -> None:
    asked = Routes(routes=(route(),), front=Front(), driver=driver)
    observed = replace(settled(asked), alive={"shop": ("one",)}, laid={"shop": ("one",)})
    assert plan(asked, observed, 100.5).first is None
    found = plan(asked, replace(observed, alive={"shop": ("two", "one")}), 100.5)
    assert str(found.first) == "lay out the static files of shop"
    assert getattr(found.first, "apps", None) == (("shop", ("two", "one")),)
    assert found.state == "ready"


def test_files_of_an_app_that_has_none_any_more_are_taken_away_also_with_the_last_domain() -> None:
    asked = Routes(routes=(route(files="", routing=routing()),), front=Front(), driver="host")
    observed = replace(settled(asked), laid={"shop": ("one",)})
    assert str(plan(asked, observed, 100.5).first) == "take away the static files of shop"
    assert str(plan(None, observed, 100.5).first) == "take away the static files of shop"
    assert plan(None, replace(observed, laid={}), 100.5).first is None


def test_a_directory_that_the_build_lacks_is_said_of_the_proxy() -> None:
    asked = Routes(routes=(route(),), front=Front(), driver="host")
    lacks = {"shop": "the static files of shop are not served: its build has no directory staticfiles"}
    found = plan(asked, replace(settled(asked), lacking=lacks), 100.5)
    assert (found.state, found.message) == ("degraded", lacks["shop"])


def test_login_and_networks_come_before_files_and_a_stopped_app_serves_none() -> None:
    guarded = Routing(
        domains=("shop.example.com",), static=(("/static", "s"),), login="/users", allow_from=("10.0.0.0/8",)
    )
    made = whole((route(routing=guarded, accounts=(("ann", "x"),)),), Front(), Abilities(), "log")
    handlers = made["apps"]["http"]["servers"]["reconciler"]["routes"][1]["handle"][0]["routes"]
    kinds = [each["handle"][0]["handler"] for each in handlers]
    assert kinds == ["static_response", "authentication", "subroute", "subroute", "subroute", *["reverse_proxy"] * 2]
    stopped = whole((route(stopped=True),), Front(), Abilities(), "log")
    assert "file_server" not in str(stopped)
    assert "try_files" not in text_of("nginx", (route(stopped=True),), Front())


def test_nginx_leaves_a_path_below_that_of_another_app_to_that_app() -> None:
    other = Route(
        app="other", upstream="127.0.0.1:2", key="k",
        routing=Routing(domains=("shop.example.com",), below="/x", allow_from=("10.0.0.0/8",)),
    )  # fmt: skip
    mine = route(routing=replace(routing(static="s"), static=(("/x/y", "s"), ("/xy", "s"))))
    text = text_of("nginx", (mine, other), Front())
    assert "location /x/y/ {" not in text
    assert "location /xy/ {" in text
    assert "location /x/y/ {" in text_of("nginx", (mine,), Front())


def test_nginx_hands_over_what_no_file_answers_to_the_app() -> None:
    text = text_of("nginx", (route(),), Front())
    assert "error_page 404 405 = @reconciler-shop;" in text
    assert "proxy_intercept_errors" not in text


def test_nginx_gives_a_path_that_another_app_has_to_that_app() -> None:
    other = Route(
        app="other", routing=Routing(domains=("shop.example.com",), below="/static"), upstream="127.0.0.1:2", key="k"
    )
    text = text_of("nginx", (route(), other), Front())
    assert text.count("location /static/ {") == 1
    assert "try_files" not in text
    assert "location /static/ {" in text_of("nginx", (route(),), Front())


def test_files_of_all_apps_are_one_action_so_that_one_that_fails_keeps_none_of_anothers() -> None:
    routes = tuple(replace(route(), app=name) for name in ("bad", "good"))
    asked = Routes(routes=routes, front=Front(), driver="host")
    observed = replace(settled(asked), alive={"bad": ("one",), "good": ("two",)}, laid={"gone": ("old",)})
    found = plan(asked, observed, 100.5)
    assert getattr(found.first, "apps", None) == (("bad", ("one",)), ("gone", ()), ("good", ("two",)))
    assert str(found.first) == "lay out the static files of bad, good, take away the static files of gone"


def test_caddy_asks_on_for_a_file_that_has_just_gone_and_leaves_the_apps_answer_as_it_is() -> None:
    handlers = whole((route(),), Front(), Abilities(), "log")["apps"]["http"]["servers"]["reconciler"]["routes"][1]
    served = [each for each in handlers["handle"][0]["routes"] if "file_server" in str(each)]
    for each in served:
        last, after = each["handle"][0]["routes"][-2:]
        assert "terminal" not in each
        assert last["handle"][0]["pass_thru"] is True
        assert after["handle"] == [{"handler": "headers", "response": {"delete": ["Cache-Control"]}}]
    assert len(served) == 3
