"""How what builds an app is held to where it may connect."""

from reconciler.planning.isolation.confinement import Isolated, builds_held_to

STRICT = Isolated(kind="strict")
LISTED = Isolated(kind="strict", connects="listed", places=("10.0.0.1:5432",))


def test_by_its_group_it_is_kept_from_this_host_whatever_the_app_reaches() -> None:
    assert builds_held_to(STRICT, group=70_001) == {"connects": "most", "gid": 70_001}
    assert builds_held_to(Isolated(kind="strict", connects="none"), group=70_001) == {"connects": "most", "gid": 70_001}
    assert builds_held_to(LISTED, group=70_001) == {"connects": "rules", "gid": 70_001}


def test_without_rules_an_app_that_names_places_builds_with_their_ports_and_those_of_packages() -> None:
    found = builds_held_to(LISTED, [3141])
    assert (found["connects"], found["ports"]) == ("ports", ("53", "80", "443", "3141", "5432"))
    found = builds_held_to(Isolated(kind="strict", connects="none"))
    assert (found["connects"], found["ports"]) == ("ports", ("53", "80", "443"))


def test_without_rules_and_ports_to_name_it_is_said_that_nothing_holds_it() -> None:
    for free in (STRICT, Isolated(kind="strict", connects="listed", places=("10.0.0.1",))):
        found = builds_held_to(free, why="it has no user")
        assert found.keys() == {"loose"}
        assert found["loose"].startswith("it has no user: ")
    assert builds_held_to(Isolated(kind="user"), group=70_001) == {}
