"""What is in force after each look: never colliding, never in a circle, never less because of what cannot be read."""

import random
from dataclasses import replace
from graphlib import TopologicalSorter
from itertools import pairwise
from pathlib import PurePath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.manifests.app_document import HostDefaults
from reconciler.manifests.catalog import Catalog, Rules, review
from reconciler.manifests.cycles import cycles
from reconciler.manifests.origin import Identity, Listing, Look, Unreadable
from tests.world import address_of

HERE = (1, 1)
RULES = Rules(host=HostDefaults(), ports=range(20000, 20100), is_free=lambda host, port: True, prune_after_s=30)
GONE = Unreadable(origin="/m", reason="cannot read /m: No such file or directory")


def listing(identity: Identity = HERE, /, **files: str | None) -> Listing:
    """Files by their stem; None is one that cannot be read."""
    content = {
        f"/m/{stem}.yaml": "cannot be read: Permission denied" if text is None else text.encode()
        for stem, text in files.items()
    }
    return Listing(origin="/m", files=content, identity=identity)


def reviewed(*tracker: Look, rules: Rules = RULES, now: float = 0) -> Catalog:
    catalog = Catalog()
    for look in tracker:
        catalog = review(catalog, [look], rules, now)
    return catalog


def addresses(catalog: Catalog) -> dict[str, str]:
    return {name: str(app.address) for name, app in catalog.apps.items()}


def problems(catalog: Catalog) -> list[str]:
    return [str(problem) for entry in catalog.files.values() for problem in entry.problems]


def test_a_file_is_about_what_is_in_force_from_it_or_the_app_that_has_its_name() -> None:
    both = "name: blog\npath: x\n---\nkind: service\nname: db\ntype: sqlite\n"
    catalog = reviewed(listing(blog=both, shop="path: x"), listing(blog="wrokers: 2", shop="wrokers: 2", wiki="x: 1"))
    subjects = {PurePath(file).stem: [*map(str, entry.subjects)] for file, entry in catalog.files.items()}
    assert subjects == {"blog": ["blog", "service db"], "shop": ["shop"], "wiki": ["wiki"]}


def test_a_refused_file_is_about_every_app_and_service_that_it_describes() -> None:
    two = "name: one\npath: x\n---\nname: two\npth: x\n"
    catalog = reviewed(listing(two=two, db="kind: service\nname: cache\ntype: redsi\n", BAD="name: A b\npath: x\n"))
    subjects = {PurePath(file).stem: [*map(str, entry.subjects)] for file, entry in catalog.files.items()}
    assert subjects == {"two": ["one", "two"], "db": ["service cache"], "BAD": ["host"]}
    assert catalog.apps.keys() | catalog.services.keys() == set()


def six() -> Listing:
    return listing(**dict.fromkeys("abcdef", "path: x"))


def test_apps_get_the_lowest_free_ports_and_keep_them() -> None:
    rules = Rules(
        host=HostDefaults(), ports=range(20000, 20100), is_free=lambda _, port: port != 20000, prune_after_s=30
    )
    first = reviewed(listing(b="path: x", c="path: x\nport: 20001"), rules=rules)
    assert addresses(first) == {"b": "127.0.0.1:20002", "c": "127.0.0.1:20001"}
    then = review(first, [listing(a="path: x", b="path: x # edited", c="path: x")], rules, 1)
    assert addresses(then) == {"a": "127.0.0.1:20003", "b": "127.0.0.1:20002", "c": "127.0.0.1:20004"}
    assert then.leases == {"a": 20003, "b": 20002, "c": 20004}


def test_a_removed_app_keeps_its_lease_until_it_is_dropped() -> None:
    without = reviewed(listing(a="path: x", b="path: x"), listing(b="path: x"))
    assert without.leases == {"a": 20000, "b": 20001}
    again = review(without, [listing(a="path: x", b="path: x")], RULES, 0)
    assert addresses(again)["a"] == "127.0.0.1:20000"
    assert without.without_lease("a").leases == {"b": 20001}
    assert without.without_lease("b").leases == without.leases


def test_an_explicit_port_leased_to_another_is_refused() -> None:
    catalog = reviewed(listing(a="path: x"), listing(a="path: x", b="path: x\nport: 20000"))
    assert problems(catalog) == ["/m/b.yaml:2:1: port: 20000 is leased to 'a' in /m/a.yaml:1; choose another"]
    assert addresses(catalog) == {"a": "127.0.0.1:20000"}


def test_a_leased_port_may_be_written_down_by_its_holder() -> None:
    catalog = reviewed(listing(a="path: x"), listing(a="path: x\nport: 20000"))
    assert problems(catalog) == []
    assert catalog.leases == {"a": 20000}


def test_a_lease_outlives_a_port_that_was_a_mistake() -> None:
    mistaken = reviewed(listing(a="path: x"), listing(a="path: x\nport: 8001", b="path: y"))
    assert addresses(mistaken) == {"a": "127.0.0.1:8001", "b": "127.0.0.1:20001"}
    mended = review(mistaken, [listing(a="path: x", b="path: y")], RULES, 0)
    assert addresses(mended) == {"a": "127.0.0.1:20000", "b": "127.0.0.1:20001"}


def test_a_lease_of_an_app_with_a_port_yields_to_another_app_that_has_no_other() -> None:
    rules = Rules(host=HostDefaults(), ports=range(20000, 20001), is_free=lambda _, __: True, prune_after_s=30)
    elsewhere = listing(a="path: x\nport: 8001", b="path: y")
    assert addresses(reviewed(listing(a="path: x"), elsewhere, rules=rules))["b"] == "127.0.0.1:20000"
    explicit = reviewed(listing(a="path: x"), listing(a="path: x\nport: 8001", b="path: y\nport: 20000"))
    assert (addresses(explicit)["b"], explicit.leases) == ("127.0.0.1:20000", {})


def test_a_port_passes_at_once_from_a_removed_app_to_one_that_sets_it() -> None:
    catalog = reviewed(listing(a="path: x"), listing(b="path: x\nport: 20000"))
    assert (problems(catalog), addresses(catalog), catalog.leases) == ([], {"b": "127.0.0.1:20000"}, {})
    back = review(catalog, [listing(a="path: x", b="path: x\nport: 20000")], RULES, 0)
    assert addresses(back) == {"a": "127.0.0.1:20001", "b": "127.0.0.1:20000"}


def test_an_exhausted_range_refuses_only_the_newcomer() -> None:
    rules = Rules(host=HostDefaults(), ports=range(20000, 20001), is_free=lambda _, __: True, prune_after_s=30)
    catalog = reviewed(listing(b="path: x"), listing(a="path: x", b="path: x"), rules=rules)
    assert problems(catalog) == ["/m/a.yaml:1:1: port: no port in the host's range (20000 to 20000) is free"]
    assert addresses(catalog) == {"b": "127.0.0.1:20000"}


def test_an_address_that_the_host_lacks_is_told_as_that_and_not_as_a_want_of_ports() -> None:
    rules = replace(RULES, is_free=lambda host, _: host == "127.0.0.1")
    catalog = reviewed(listing(a="path: x", b="path: x\nhost: 192.0.2.1"), rules=rules)
    assert problems(catalog) == ["/m/b.yaml:2:1: host: 192.0.2.1 is no address of this host"]


def test_a_name_in_force_is_kept_by_its_file_and_refused_to_another() -> None:
    before = listing(a="name: shop\npath: x", b="path: y")
    catalog = reviewed(before, listing(a="name: shop\npath: x # edited", b="# mine\npath: y\nname: shop"))
    assert problems(catalog) == ["/m/b.yaml:3:1: name: 'shop' is also claimed by /m/a.yaml:1"]
    assert {name: app.source.path for name, app in catalog.apps.items()} == {"shop": "/m/x", "b": "/m/y"}
    assert catalog.files["/m/b.yaml"].last_good == b"path: y"
    assert problems(review(catalog, [before], RULES, 0)) == []


@pytest.mark.parametrize(("one", "other"), [("127.0.0.1", "localhost"), ("0.0.0.0", "127.0.0.1"), ("::1", "::")])
def test_two_that_claim_one_port_are_both_refused(one: str, other: str) -> None:
    texts = {name: f"path: x\nport: 8001\nhost: '{host}'" for name, host in (("a", one), ("b", other))}
    catalog = reviewed(listing(**texts))
    assert problems(catalog) == [
        f"/m/a.yaml:2:1: port: {one}:8001 is also claimed by 'b' in /m/b.yaml:2",
        f"/m/b.yaml:2:1: port: {other}:8001 is also claimed by 'a' in /m/a.yaml:2",
    ]
    assert catalog.apps == {}


def test_a_port_in_force_is_kept_by_its_app_and_refused_to_another() -> None:
    before = listing(a="path: x\nport: 8001", b="path: y\nport: 8002")
    catalog = reviewed(before, listing(a="path: x # edited\nport: 8001", b="path: y\nport: 8001"))
    assert problems(catalog) == ["/m/b.yaml:2:1: port: 127.0.0.1:8001 is also claimed by 'a' in /m/a.yaml:2"]
    assert addresses(catalog) == {"a": "127.0.0.1:8001", "b": "127.0.0.1:8002"}


def test_one_port_on_two_addresses_is_two_ports() -> None:
    catalog = reviewed(listing(a="path: x\nport: 8001\nhost: 127.0.0.2", b="path: x\nport: 8001"))
    assert len(catalog.apps) == 2


def test_two_documents_of_one_file_may_not_claim_one_name() -> None:
    catalog = reviewed(listing(a="name: shop\npath: x\n---\nname: shop\npath: y"))
    assert problems(catalog) == [
        "/m/a.yaml:1:1: name: 'shop' is also claimed by /m/a.yaml:4",
        "/m/a.yaml:4:1: name: 'shop' is also claimed by /m/a.yaml:1",
    ]


def test_two_apps_may_swap_names_in_one_look() -> None:
    catalog = reviewed(
        listing(a="name: x\npath: a", b="name: y\npath: b"), listing(a="name: y\npath: a", b="name: x\npath: b")
    )
    assert problems(catalog) == []
    assert {name: app.manifest for name, app in catalog.apps.items()} == {"x": "/m/b.yaml", "y": "/m/a.yaml"}


def test_a_name_whose_holder_could_not_let_go_is_not_given_away() -> None:
    before = listing(a="name: x\npath: a", b="name: y\npath: b")
    catalog = reviewed(before, listing(a="name: y\npath: a", b="name: y\npath: b", c="name: x\npath: c"))
    assert {name: app.manifest for name, app in catalog.apps.items()} == {"x": "/m/a.yaml", "y": "/m/b.yaml"}
    assert "/m/c.yaml:1:1: name: 'x' is also claimed by /m/a.yaml:1" in problems(catalog)


def test_all_on_a_circle_are_refused_and_what_ran_stays() -> None:
    before = listing(api="path: x", worker="path: y\ndepends_on: [api]")
    circle = listing(
        api="path: z\nworkers: 2\ndepends_on:\n  - worker",
        worker="path: y\ndepends_on: [api]",
        shop="path: s\ndepends_on: [api]",
    )
    catalog = reviewed(before, circle)
    assert problems(catalog) == [
        "/m/api.yaml:3:1: depends_on: 'api' depends on itself: api → worker → api",
    ]
    assert {name: (app.source.path, app.depends_on) for name, app in catalog.apps.items()} == {
        "api": ("/m/x", ()),
        "shop": ("/m/s", ("api",)),
        "worker": ("/m/y", ("api",)),
    }
    assert catalog.files["/m/api.yaml"].last_good == b"path: x"
    assert problems(review(catalog, [before], RULES, 0)) == []


def test_a_circle_of_newcomers_gives_none_of_them() -> None:
    ring = {name: f"path: x\ndepends_on: [{other}]" for name, other in zip("abc", "bca", strict=True)}
    catalog = reviewed(listing(**ring, d="path: x\ndepends_on: [a]"))
    assert problems(catalog) == [
        "/m/a.yaml:2:1: depends_on: 'a' depends on itself: a → b → c → a",
        "/m/b.yaml:2:1: depends_on: 'b' depends on itself: b → c → a → b",
        "/m/c.yaml:2:1: depends_on: 'c' depends on itself: c → a → b → c",
    ]
    assert set(catalog.apps) == {"d"}


def test_a_circle_within_one_file_is_one_too() -> None:
    both = "name: a\npath: x\ndepends_on: [b]\n---\nname: b\npath: x\ndepends_on: [a]"
    assert problems(reviewed(listing(both=both))) == [
        "/m/both.yaml:3:1: depends_on: 'a' depends on itself: a → b → a",
        "/m/both.yaml:7:1: depends_on: 'b' depends on itself: b → a → b",
    ]


def test_an_app_may_depend_on_what_does_not_exist() -> None:
    catalog = reviewed(listing(a="path: x\ndepends_on: [nobody]"))
    assert problems(catalog) == []
    assert catalog.apps["a"].depends_on == ("nobody",)


def test_a_circle_is_broken_by_mending_any_of_its_files() -> None:
    circle = listing(a="path: x\ndepends_on: [b]", b="path: x\ndepends_on: [a]")
    mended = reviewed(circle, listing(a="path: x", b="path: x\ndepends_on: [a]"))
    assert problems(mended) == []
    assert mended.apps["b"].depends_on == ("a",)


def test_two_may_swap_who_waits_for_whom_in_one_look() -> None:
    catalog = reviewed(
        listing(a="path: x\ndepends_on: [b]", b="path: x"), listing(a="path: x", b="path: x\ndepends_on: [a]")
    )
    assert problems(catalog) == []
    assert catalog.apps["b"].depends_on == ("a",)


def test_half_a_swap_that_does_not_parse_leaves_both_as_they_were() -> None:
    before = listing(a="path: x\ndepends_on: [b]", b="path: x")
    catalog = reviewed(before, listing(a="path: [", b="path: x\ndepends_on: [a]"))
    assert {name: app.depends_on for name, app in catalog.apps.items()} == {"a": ("b",), "b": ()}
    assert "/m/b.yaml:2:1: depends_on: 'b' depends on itself: b → a → b" in problems(catalog)


def test_the_way_round_is_told_in_few_words_however_long_it_is() -> None:
    ring = cycles({f"n{i:02}": [f"n{(i + 1) % 20:02}"] for i in range(20)})
    assert ring["n19"] == "n19 → n00 → n01 → n02 → n03 → n04 → n05 → n06 → … (12 more) → n19"
    assert cycles({"a": "b", "b": "ac", "c": "bd", "d": "e", "e": ""}) == {
        "a": "a → b → a",
        "b": "b → a → b",
        "c": "c → b → c",
    }


@given(st.dictionaries(st.sampled_from("abcdefgh"), st.frozensets(st.sampled_from("abcdefgh"), max_size=3)))
def test_a_circle_is_told_to_exactly_those_on_one(needs: dict[str, frozenset[str]]) -> None:
    needs = {name: others - {name} for name, others in needs.items()}
    found = cycles(needs)
    for name in needs:
        reached: set[str] = set()
        beyond = set(needs[name])
        while beyond:
            reached |= beyond
            beyond = {other for step in beyond for other in needs.get(step, ())} - reached
        assert (name in found) == (name in reached)
    for name, told in found.items():
        way = told.split(" → ")
        assert (way[0], way[-1]) == (name, name)
        assert len(set(way)) == len(way) - 1
        assert all(other in needs[step] for step, other in pairwise(way))


def test_thousands_in_one_tangle_are_told_in_bounded_space() -> None:
    names = [f"app-{i}" for i in range(5000)]
    chance = random.Random(1)
    tangles = [
        {name: [names[i - 1]] for i, name in enumerate(names)},
        {name: chance.sample(names, 3) for name in names},
        {name: [*names[max(0, i - 1) : i], *names[i + 1 : i + 2]] for i, name in enumerate(names)},
        {name: names[i + 1 : i + 2] for i, name in enumerate(names)},
    ]
    assert [len(cycles(tangle)) > 4500 for tangle in tangles] == [True, True, True, False]


@pytest.mark.parametrize("broken", ["", "path: [", "path: x\nnope: 1", None, "path: x\nport: 0"])
def test_a_broken_edit_changes_nothing_but_the_problems(broken: str | None) -> None:
    before = reviewed(listing(a="path: x", b="path: x"))
    after = review(before, [listing(a=broken, b="path: x")], RULES, 0)
    assert after.apps == before.apps
    assert len(problems(after)) == 1
    assert after.files["/m/a.yaml"].last_good == b"path: x"


def test_unchanged_files_are_not_parsed_again() -> None:
    before = reviewed(listing(a="path: x", b="path: ["))
    after = review(before, [listing(a="path: x", b="path: [")], RULES, 0)
    for file, entry in after.files.items():
        assert entry.parsed is before.files[file].parsed
    assert after.apps["a"] is before.apps["a"]


def test_nothing_is_stopped_while_the_directory_cannot_be_read() -> None:
    before = reviewed(six())
    after = review(before, [GONE], RULES, 1)
    assert after.apps == before.apps
    assert after.notice == "cannot read /m: No such file or directory; nothing is stopped until it can be read"
    assert review(after, [six()], RULES, 2).notice is None


def test_a_file_gone_from_a_readable_directory_is_gone_at_once() -> None:
    catalog = reviewed(six(), listing(**dict.fromkeys("abc", "path: x")))
    assert set(catalog.apps) == set("abc")
    assert catalog.notice is None
    assert catalog.recheck_at is None


def test_most_apps_vanishing_at_once_needs_a_second_look() -> None:
    first = reviewed(six())
    second = review(first, [listing(a="path: x")], RULES, 100)
    assert second.apps == first.apps
    assert second.recheck_at == 130
    assert second.notice == (
        "5 of 6 apps vanished from the manifests at once (b, c, d and 2 more); "
        "nothing is stopped until they have been gone for 30 s"
    )
    assert review(second, [listing(a="path: x")], RULES, 129).apps == first.apps
    third = review(second, [listing(a="path: x")], RULES, 130)
    assert set(third.apps) == {"a"}
    assert (third.notice, third.recheck_at) == (None, None)


def test_what_comes_back_in_time_was_never_gone() -> None:
    second = review(reviewed(six()), [listing()], RULES, 100)
    third = review(second, [six()], RULES, 120)
    assert (third.notice, third.recheck_at, set(third.apps)) == (None, None, set("abcdef"))


def test_new_and_edited_files_take_effect_while_others_are_held() -> None:
    second = review(reviewed(six()), [listing(a="path: y", z="path: z")], RULES, 100)
    assert second.apps["a"].source.path == "/m/y"
    assert set(second.apps) == set("abcdefz")


def test_another_directory_under_the_same_path_needs_a_second_look() -> None:
    first = reviewed(listing(a="path: x", b="path: x"))
    second = review(first, [listing((1, 2), a="path: x")], RULES, 100)
    assert set(second.apps) == {"a", "b"}
    assert review(second, [listing((1, 2), a="path: x")], RULES, 130).apps.keys() == {"a"}


def test_another_directory_with_the_same_files_is_no_news() -> None:
    catalog = reviewed(listing(a="path: x"), listing((1, 2), a="path: x"))
    assert catalog.notice is None


def test_time_spent_blind_does_not_count_as_gone() -> None:
    second = review(reviewed(six()), [listing()], RULES, 100)
    blind = review(second, [GONE], RULES, 129)
    third = review(blind, [listing()], RULES, 200)
    assert set(third.apps) == set("abcdef")
    assert third.recheck_at == 230
    assert review(third, [listing()], RULES, 230).apps == {}


def test_an_edit_that_drops_most_apps_of_a_file_is_held_too() -> None:
    whole = "\n---\n".join(f"name: {name}\npath: x" for name in "abcdef")
    first = reviewed(listing(all=whole))
    second = review(first, [listing(all="name: a\npath: x")], RULES, 100)
    assert second.apps == first.apps
    assert second.files["/m/all.yaml"].last_good == whole.encode()
    assert review(second, [listing(all="name: a\npath: x")], RULES, 130).apps.keys() == {"a"}


def test_renaming_a_file_stops_nothing() -> None:
    catalog = reviewed(listing(a="name: shop\npath: x"), listing(b="name: shop\npath: x"))
    assert catalog.apps["shop"].manifest == "/m/b.yaml"
    assert problems(catalog) == []


def test_a_restart_knows_what_was_in_force() -> None:
    before = reviewed(listing(a="path: x", b="path: x\nport: 8001"), listing(a="path: [", b="path: x\nport: 8001"))
    last_good = {file: entry.last_good for file, entry in before.files.items() if entry.last_good is not None}
    after = Catalog.restored(last_good, before.leases, before.identities, RULES.host)
    assert after.apps == before.apps
    assert review(after, [GONE], RULES, 0).apps == before.apps
    assert review(after, [listing(a="path: [", b="path: x\nport: 8001")], RULES, 0).apps == before.apps


NEEDS = ("a", "b", "c", "d", "a, b", "b, c", "d, a")
DOCUMENTS = st.one_of(
    st.none(),
    st.sampled_from(["", "path: [", "nope: 1", "# gone"]),
    st.lists(
        st.builds(
            "name: {}\npath: {}\n{}\n{}".format,
            st.sampled_from("uvwxyz"),
            st.sampled_from(["x", "y"]),
            st.sampled_from(["", "", "depends_on: [u]", "depends_on: [v]", "depends_on: [w, x]"]),
            st.sampled_from(["", "port: 20000", "port: 20001", "port: 8001", "port: 8001\nhost: 0.0.0.0"]),
        ),
        min_size=1,
        max_size=3,
    ).map("\n---\n".join),
)
LOOKS = st.one_of(
    st.just(GONE),
    st.builds(
        lambda identity, files: listing((1, identity), **files),
        st.sampled_from([1, 1, 1, 2]),
        st.dictionaries(st.sampled_from("abcde"), DOCUMENTS, max_size=5),
    ),
)
NARROW = Rules(host=HostDefaults(), ports=range(20000, 20004), is_free=lambda _, port: port != 20002, prune_after_s=30)
STORIES = st.lists(st.tuples(LOOKS, st.sampled_from([0.0, 1.0, 31.0])), max_size=8)


def told(
    story: list[tuple[Look, float]],
) -> list[tuple[Catalog, Look, float]]:
    catalog, now, chapters = Catalog(), 0.0, []
    for look, later in story:
        now += later
        catalog = review(catalog, [look], NARROW, now)
        chapters.append((catalog, look, now))
    return chapters


@settings(max_examples=300)
@given(STORIES)
def test_what_is_in_force_never_collides(story: list[tuple[Look, float]]) -> None:
    for catalog, _, _ in told(story):
        for app in catalog.apps.values():
            hosts = {
                address_of(other).host
                for other in catalog.apps.values()
                if address_of(other).port == address_of(app).port
            }
            assert len(hosts) == 1
        names = [name for entry in catalog.files.values() for name in entry.names]
        assert sorted(names) == sorted(catalog.apps)
        assert len({(address_of(app).host, address_of(app).port) for app in catalog.apps.values()}) == len(catalog.apps)
        assert len(set(catalog.leases.values())) == len(catalog.leases)


# Files of one app each that do little else than depend on each other.
TANGLED = st.dictionaries(
    st.sampled_from("abcd"),
    st.sampled_from(["path: x", "path: [", None, *(f"path: x\ndepends_on: [{needs}]" for needs in NEEDS)]),
    min_size=2,
).map(lambda files: listing(**files))


@settings(max_examples=300)
@given(STORIES | st.lists(st.tuples(TANGLED | st.just(GONE), st.sampled_from([0.0, 31.0])), max_size=8))
def test_nothing_in_force_waits_for_itself(story: list[tuple[Look, float]]) -> None:
    for catalog, _, _ in told(story):
        TopologicalSorter({name: app.depends_on for name, app in catalog.apps.items()}).prepare()


@settings(max_examples=300)
@given(STORIES)
def test_looking_twice_changes_nothing(story: list[tuple[Look, float]]) -> None:
    for catalog, look, now in told(story):
        assert review(catalog, [look], NARROW, now) == catalog


@settings(max_examples=300)
@given(STORIES, st.sampled_from([1, 2]))
def test_files_that_are_as_they_were_come_to_the_same_as_if_all_was_allocated_again(
    story: list[tuple[Look, float]], identity: int
) -> None:
    for catalog, look, now in told(story):
        again = look if isinstance(look, Unreadable) else replace(look, identity=(1, identity))
        assert review(catalog, [again], NARROW, now) == review(
            replace(catalog, is_reviewed=False), [again], NARROW, now
        )


def test_an_app_whose_lease_was_lost_gets_one_though_no_file_has_changed() -> None:
    catalog = reviewed(listing(blog="path: x"))
    lost = replace(catalog, leases={}, is_reviewed=False)
    assert addresses(review(lost, [listing(blog="path: x")], RULES, 0.0)) == addresses(catalog)


@given(STORIES)
def test_unreadable_never_removes(story: list[tuple[Look, float]]) -> None:
    for catalog, _, now in told(story):
        assert review(catalog, [GONE], NARROW, now).apps == catalog.apps


@given(STORIES, st.sampled_from(["", "path: [", "nope: 1", None]))
def test_breaking_every_file_never_removes(story: list[tuple[Look, float]], broken: str | None) -> None:
    for catalog, _, now in told(story):
        stems = {file.removeprefix("/m/").removesuffix(".yaml"): broken for file in catalog.files}
        look = listing(catalog.identities.get("/m", HERE), **stems)
        assert review(catalog, [look], NARROW, now).apps == catalog.apps


@pytest.mark.parametrize(
    ("identity", "files", "what"),
    [
        ((2, 1), {}, "/m is another file system than before, and holds nothing in place of 2 manifests"),
        ((1, 9), {}, "/m is another directory than before, and holds nothing in place of 2 manifests"),
        ((2, 1), {"x": "path: x\n"}, "/m is another file system than before, and holds others in place of 2 manifests"),
    ],
)
def test_something_else_in_the_place_of_the_manifests_removes_nothing_until_that_is_confirmed(
    identity: tuple[int, int], files: dict[str, str], what: str
) -> None:
    rules, until = RULES, "the manifests are back, or 'reconciler prune' confirms that they are gone"
    catalog = before = review(Catalog(), [listing(a="path: a\n", b="path: b\n")], rules, 0)
    for now in (1, 100, 10**6):
        catalog = review(catalog, [listing(identity, **files)], rules, now)
        assert catalog.apps == before.apps
        assert catalog.notice == f"{what}; nothing is stopped until {until}"
    back = review(catalog, [listing(a="path: a\n", b="path: b\n")], rules, 10**6)
    assert (back.apps, back.notice) == (before.apps, None)
    confirmed = review(catalog, [listing(identity, **files)], rules, 10**6, confirmed=True)
    assert before.apps.keys() <= confirmed.apps.keys()
    pruned = review(confirmed, [listing(identity, **files)], rules, 10**6 + 31)
    assert pruned.apps.keys() == files.keys()


def test_another_file_system_with_the_same_manifests_is_taken_as_they_are() -> None:
    """As after a reboot that gave the disk another number."""
    before = review(Catalog(), [listing(a="path: a\n", b="path: b\n")], RULES, 0)
    after = review(before, [listing((7, 7), a="path: a\n", b="path: c\n")], RULES, 1)
    assert after.notice is None
    assert after.apps["b"] != before.apps["b"]


@given(STORIES)
def test_a_restart_changes_nothing(story: list[tuple[Look, float]]) -> None:
    for catalog, _, _ in told(story):
        last_good = {file: entry.last_good for file, entry in catalog.files.items() if entry.last_good is not None}
        assert Catalog.restored(last_good, catalog.leases, catalog.identities, NARROW.host).apps == catalog.apps


def proposed(**files: str) -> list[str]:
    """The names that the problems of these files propose, file by file."""
    return [text.rpartition("; for example ")[2] for text in problems(reviewed(listing(**files)))]


def test_no_name_is_proposed_that_another_file_has_or_will_have() -> None:
    assert proposed(F1="path: x") == ["'f1'"]
    assert proposed(F1="path: x", f1="path: y") == ["'f1-2'"]
    assert proposed(F1="path: x", f1="wrokers: 1")[0] == "'f1-2'"
    assert proposed(F1="path: x", other="name: f1\npath: y") == ["'f1-2'"]
    assert proposed(F1="path: x", other="kind: service\nname: f1\ntype: sqlite") == ["'f1-2'"]
    assert proposed(F_1="path: x", **{"F-1": "path: y", "f-1-2": "path: z"}) == ["'f-1'", "'f-1-3'"]
    longest = "x" * 63
    assert proposed(**{longest.upper(): "path: x", longest: "path: y"}) == [f"'{longest[:61]}-2'"]
