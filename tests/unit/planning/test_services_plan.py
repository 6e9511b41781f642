"""What is done about a service: plans as text, and a world in memory in which every story ends as asked."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.planning.plan import Plan
from reconciler.planning.reason import Cause, Reason
from reconciler.planning.services.actions import (
    Action,
    BackUp,
    Bind,
    CreateGrant,
    Deprovision,
    Forget,
    Provision,
    RecordRetention,
    Register,
    Unbind,
    Verify,
)
from reconciler.planning.services.observed import GrantState, ObservedService, ServiceState
from reconciler.planning.services.plan import made_of, plan
from reconciler.planning.services.service import Service

NOW = 1000.0
DB = Service(name="db", manifest="db.yaml", type="postgresql")
MADE = made_of(DB)
BOUND = GrantState(id="g1", app="blog", parameters="", bound=True, verified_at=NOW, used=True)
HERE = ServiceState(id="s1", type="postgresql", server="main", retain=True, grace_s=3600.0, made=MADE, grants=(BOUND,))
SEEN = ObservedService(kept=(HERE,), server="main", wanted_by={"blog": ""})


def seen(*grants: GrantState, **different: object) -> ObservedService:
    kept = {k: v for k, v in different.items() if k in ServiceState.__slots__}
    rest = {k: v for k, v in different.items() if k not in ServiceState.__slots__}
    return replace(SEEN, kept=(replace(HERE, grants=grants, **kept),), **rest)  # type: ignore[arg-type]


def planned(service: Service | None, known: ObservedService, now: float = NOW) -> list[str]:
    return [str(step) for step in plan(service, known, now).actions]


def test_a_new_service_gets_its_id_before_anything_is_made() -> None:
    assert planned(DB, ObservedService(server="main", wanted_by={"blog": ""})) == ["register the service"]


def test_it_is_provisioned_before_anybody_is_bound() -> None:
    assert planned(DB, seen(made="")) == ["provision the service", "create credentials for blog"]


def test_credentials_are_drawn_before_a_server_hears_of_them() -> None:
    drawn = replace(BOUND, bound=False, used=False)
    assert planned(DB, seen(drawn)) == ["bind blog"]


def test_what_is_as_asked_is_left_alone() -> None:
    decided = plan(DB, SEEN, NOW)
    assert (decided.actions, decided.state, decided.settled) == ((), "ready", True)
    assert decided.recheck_at == NOW + SEEN.verify_every_s


def test_a_changed_plan_is_provisioned_again_and_keeps_the_grants() -> None:
    assert planned(replace(DB, plan="large"), SEEN) == ["provision the service"]


def test_old_credentials_are_taken_back_only_when_new_ones_work_and_nothing_uses_them() -> None:
    old, drawn = replace(BOUND, retiring="asked for"), replace(BOUND, id="g2", bound=False, used=False)
    new = replace(BOUND, id="g2")
    assert planned(DB, seen(old)) == ["create credentials for blog"]
    assert planned(DB, seen(old, drawn)) == ["bind blog"]
    assert planned(DB, seen(old, new)) == []
    assert planned(DB, seen(replace(old, used=False), new)) == ["revoke credentials of blog"]
    assert planned(DB, seen(replace(old, used=False), drawn)) == ["bind blog"]


def test_other_parameters_are_other_credentials() -> None:
    assert planned(DB, seen(BOUND, wanted_by={"blog": "p2"})) == ["create credentials for blog"]


def test_an_app_that_left_loses_its_credentials_once_nothing_may_come_back_to_them() -> None:
    unwanted = seen(BOUND, wanted_by={})
    assert planned(DB, unwanted) == []
    assert planned(DB, seen(replace(BOUND, used=False, kept_for_rollback=True), wanted_by={})) == []
    assert planned(DB, seen(replace(BOUND, used=False), wanted_by={})) == ["revoke credentials of blog"]


def test_credentials_are_tried_in_their_time() -> None:
    assert planned(DB, SEEN, NOW + 59) == []
    assert planned(DB, SEEN, NOW + 60) == ["verify the credentials of blog"]
    assert planned(DB, seen(replace(BOUND, verified_at=None))) == ["verify the credentials of blog"]


def test_what_stays_after_the_manifest_says_so() -> None:
    left = seen(left_at=NOW, wanted_by={})
    decided = plan(None, left, NOW + 1e6)
    assert (decided.actions, decided.state, decided.settled, decided.reportable) == ((), "retained", True, True)
    assert planned(DB, left) == ["record what its manifest says"]


def test_what_may_go_is_backed_up_first_and_only_after_its_time() -> None:
    left = seen(left_at=NOW, retain=False, wanted_by={})
    assert plan(None, left, NOW + 3599).actions == ()
    assert plan(None, left, NOW + 3599).recheck_at == NOW + 3600
    assert planned(None, left, NOW + 3600) == ["back up its data", "remove the service and its data"]


@pytest.mark.parametrize("grant", [BOUND, replace(BOUND, used=False, kept_for_rollback=True)])
def test_nothing_is_removed_under_an_app_that_may_still_work_with_it(grant: GrantState) -> None:
    assert planned(None, seen(grant, left_at=0.0, retain=False, wanted_by={}), NOW * 99) == []


def test_what_an_app_still_asks_for_stays_though_its_manifest_is_gone() -> None:
    known = seen(replace(BOUND, used=False), left_at=0.0, retain=False)
    decided = plan(None, known, NOW * 99)
    assert decided.actions == ()
    assert "blog still uses it" in decided.message


def test_another_type_is_another_service_and_what_the_one_before_holds_is_kept() -> None:
    other = replace(DB, type="mysql")
    assert planned(other, replace(SEEN, server="maria")) == ["register the service"]
    second = replace(HERE, id="s2", type="mysql", server="maria", grants=(replace(BOUND, id="g2"),))
    assert planned(other, replace(SEEN, server="maria", kept=(HERE, second))) == ["record that it is no longer desired"]
    left = replace(HERE, left_at=0.0, grants=(replace(BOUND, used=False),))
    known = replace(SEEN, server="maria", kept=(left, second))
    assert planned(other, known) == ["revoke credentials of blog"]
    assert planned(other, replace(known, kept=(replace(left, grants=()), second)), NOW) == []


def test_settings_that_name_no_server_do_nothing_and_say_why() -> None:
    decided = plan(DB, replace(SEEN, problem="which server?"), NOW)
    assert (decided.actions, decided.state, decided.message) == ((), "failing", "which server?")


# Every story ends as asked


def after(known: ObservedService, step: Action, now: float, drawn: int) -> ObservedService:  # noqa: C901  one case for each step
    """What a step is supposed to do."""

    def kept(service: str, **different: object) -> tuple[ServiceState, ...]:
        return tuple(replace(k, **different) if k.id == service else k for k in known.kept)  # type: ignore[arg-type]

    def grants(grant: str, **different: object) -> tuple[ServiceState, ...]:
        return tuple(
            replace(k, grants=tuple(replace(h, **different) if h.id == grant else h for h in k.grants))  # type: ignore[arg-type]
            for k in known.kept
        )

    match step:
        case Register():
            new = ServiceState(id=f"s{drawn}", type=step.type, server=step.server, retain=True, grace_s=known.grace_s)
            return replace(known, kept=(*known.kept, new))
        case RecordRetention():
            left_at = now if step.left else None
            changed = kept(step.service, retain=step.retain, grace_s=step.grace_s, left_at=left_at, dumped=False)
            return replace(known, kept=changed)
        case Provision():
            doubted = tuple(
                replace(
                    k,
                    made=step.made,
                    grants=tuple(replace(h, due="changed") if h.bound and not h.retiring else h for h in k.grants),
                )
                if k.id == step.service
                else k
                for k in known.kept
            )
            return replace(known, kept=doubted)
        case CreateGrant():
            new_grant = GrantState(id=f"g{drawn}", app=step.app, parameters=step.parameters)
            changed = tuple(
                replace(k, grants=(*k.grants, new_grant)) if k.id == step.service else k for k in known.kept
            )
            return replace(known, kept=changed)
        case Bind():
            return replace(known, kept=grants(step.grant, bound=True, due=None, verified_at=now))
        case Verify():
            return replace(known, kept=grants(step.grant, verified_at=now))
        case Unbind():
            changed = tuple(replace(k, grants=tuple(h for h in k.grants if h.id != step.grant)) for k in known.kept)
            return replace(known, kept=changed)
        case BackUp():
            return replace(known, kept=kept(step.service, dumped=True))
        case Deprovision():
            return replace(known, kept=tuple(k for k in known.kept if k.id != step.service))
        case Forget():
            return replace(known, has_residue=False)


@st.composite
def anything_seen(draw: st.DrawFn) -> ObservedService:
    wanted: Mapping[str, str] = draw(st.dictionaries(st.sampled_from(["blog", "shop"]), st.sampled_from(["", "p"])))
    numbers = iter(range(100))
    held = st.builds(
        GrantState,
        id=st.builds(lambda: f"h{next(numbers)}"),
        app=st.sampled_from(["blog", "shop"]),
        parameters=st.sampled_from(["", "p"]),
        bound=st.booleans(),
        due=st.sampled_from([None, "changed"]),
        retiring=st.sampled_from([None, "asked for"]),
        used=st.booleans(),
        kept_for_rollback=st.booleans(),
        verified_at=st.sampled_from([None, NOW]),
    )
    kinds = draw(st.lists(st.sampled_from([("postgresql", "main"), ("mysql", "maria")]), unique=True, max_size=2))
    kept = tuple(
        ServiceState(
            id=f"k{number}",
            type=of_type,
            server=server,
            retain=draw(st.booleans()),
            grace_s=60.0,
            made=draw(st.sampled_from(["", MADE])),
            left_at=draw(st.sampled_from([None, 0.0, NOW])),
            dumped=draw(st.booleans()),
            grants=tuple(draw(st.lists(held, max_size=3))),
        )
        for number, (of_type, server) in enumerate(kinds)
    )
    return ObservedService(kept=kept, server="main", wanted_by=wanted, grace_s=60.0, has_residue=draw(st.booleans()))


def runs(service: Service | None, known: ObservedService, now: float) -> tuple[ObservedService, Plan[Action]]:
    for number in range(100):
        decided = plan(service, known, now)
        if decided.first is None:
            return known, decided
        check(known, decided.first, now)
        following = after(known, decided.first, now, 100 + number)
        assert following != known, f"{decided.first} made no difference"
        known = following
    raise AssertionError("it never ends")


def check(known: ObservedService, step: Action, now: float) -> None:
    """The laws, at each step."""
    held = {h.id: h for k in known.kept for h in k.grants}
    kept = {k.id: k for k in known.kept}
    if isinstance(step, Unbind):
        assert not held[step.grant].used
    if isinstance(step, Bind):
        assert step.grant in held
    if isinstance(step, Deprovision):
        gone = kept[step.service]
        assert not (gone.was_made and gone.retain)
        assert not gone.grants
        assert gone.dumped or not gone.made
        assert gone.left_at is not None
        assert now >= gone.left_at + (gone.grace_s if gone.was_made else 0)


@settings(max_examples=300)
@given(known=anything_seen(), service=st.sampled_from([DB, replace(DB, retain=False), None]))
def test_every_story_ends_as_asked_and_breaks_no_law_on_the_way(
    known: ObservedService, service: Service | None
) -> None:
    end, decided = runs(service, known, NOW)
    if service is None:
        return
    (here,) = [k for k in end.kept if (k.type, k.server) == ("postgresql", "main")]
    assert decided.state == "ready"
    assert (here.made, here.retain, here.left_at) == (MADE, service.retain, None)
    for app, parameters in end.wanted_by.items():
        working = [h for h in here.grants if h.app == app and h.bound and not h.retiring and h.parameters == parameters]
        assert working, f"{app} has nothing that works"


@given(known=anything_seen(), service=st.sampled_from([DB, None]))
def test_planning_is_a_function(known: ObservedService, service: Service | None) -> None:
    assert plan(service, known, NOW) == plan(service, known, NOW)


@pytest.mark.parametrize("wanted_by", [{}, {"blog": ""}])
def test_a_service_that_was_never_provisioned_is_not_retained(wanted_by: Mapping[str, str]) -> None:
    never = replace(HERE, made="", grants=())
    first = plan(None, ObservedService(kept=(never,), wanted_by=wanted_by), NOW)
    assert list(map(str, first.actions)) == ["record that it is no longer desired"]
    then = plan(None, ObservedService(kept=(replace(never, left_at=NOW),), wanted_by=wanted_by), NOW)
    assert list(map(str, then.actions)) == ["remove the service and its data"]
    assert (then.state, then.message) == ("stopping", "its manifest was removed")


def test_what_an_app_has_had_credentials_of_is_retained_though_it_was_not_provisioned_again() -> None:
    decided = plan(None, seen(replace(BOUND, used=True), made="", left_at=NOW), NOW)
    assert (decided.actions, decided.state) == ((), "retained")


def test_backups_in_trouble_degrade_a_service_and_stop_nothing() -> None:
    late = Cause(Reason.BACKUP_LATE, "its last good backup is more than 1d12h old")
    decided = plan(DB, seen(BOUND, backup_trouble=late), NOW)
    assert (decided.state, decided.reason, decided.message) == ("degraded", late.reason, late.text)
    assert (decided.actions, decided.settled) == ((), True)
    assert planned(DB, seen(BOUND, backup_trouble=late, wanted_by={"blog": "p2"})) == ["create credentials for blog"]
