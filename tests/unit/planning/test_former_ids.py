"""Ids of commit 75b705b, where the number of workers was a part of a revision: an upgrade restarts nothing."""

import json
from dataclasses import replace

from reconciler.planning.address import Address
from reconciler.planning.apps.former_ids import current_ids, with_current_ids
from reconciler.planning.apps.observed import Observed, Override, SleepState
from reconciler.planning.apps.plan import plan
from reconciler.planning.apps.revision import Bound, Health, Server, revision_from
from tests.world import NOW, a_look, a_trouble, an_app, an_instance, release_id, serving

# As commit 75b705b computed and stored them.
APP = an_app(
    server=Server(workers=3, threads=2, settings={"max_requests": 10}, health=Health(path="/healthz")),
    env={"LOG_LEVEL": "info"},
    release="migrate",
)
FORMER_ID, ID_OF_ONE_WORKER = "7113afe1b2f1", "4a84f7906fcb"
RELEASE_ID, FINGERPRINT, BUILD_ID = "c7770c0c3c2a", "1f0d31500df4", "35af71b017ef"
STORED = """
    {"app": "blog", "build": {"source": {"path": "/apps/blog", "pinned": ""}, "recipe": {"runtime": null,
    "entrypoint": null, "dependencies": null, "extras": [], "groups": []}, "content": "c1"},
    "address": {"host": "127.0.0.1", "port": 8001}, "server": {"workers": 3, "threads": 2, "worker_class": null,
    "settings": {"max_requests": 10}, "health": {"path": "/healthz", "host": null, "timeout_s": 2.0},
    "start_timeout_s": 60.0, "stop_timeout_s": 30.0, "access_log": true, "counts": false},
    "env": {"LOG_LEVEL": "info"}, "release": "migrate", "bindings": [], "env_secrets": {}}
"""
V1 = APP.revision("c1")


def former(observed: Observed) -> Observed:
    """The same as commit 75b705b left it: every id is that of three workers."""
    names = {V1.id: FORMER_ID}
    return with_current_ids(observed, names)


def test_what_one_worker_had_for_an_id_every_number_has_now() -> None:
    assert V1.id == ID_OF_ONE_WORKER
    assert (V1.legacy_id(3), V1.legacy_id(1)) == (FORMER_ID, V1.id)
    assert (release_id(V1), APP.fingerprint, V1.build.id) == (RELEASE_ID, FINGERPRINT, BUILD_ID)


def test_a_stored_revision_is_read_without_its_workers() -> None:
    stored = revision_from(json.loads(STORED))
    assert (stored, stored.id, stored.legacy_id(3)) == (V1, V1.id, FORMER_ID)


def test_what_an_earlier_daemon_left_running_is_neither_restarted_nor_scaled() -> None:
    left = former(serving(APP))
    assert [i.revision for i in left.instances] == [FORMER_ID]
    assert plan(APP, left, NOW).actions != ()
    taken = with_current_ids(left, current_ids(APP, left))
    decided = plan(APP, taken, NOW)
    assert (decided.actions, decided.state, decided.settled) == ((), "running", True)


def test_an_instance_on_probation_is_recognised_by_the_desired_revision() -> None:
    left = former(serving(APP, known_good=()))
    assert current_ids(APP, left)[FORMER_ID] == V1.id


def test_an_instance_is_recognised_by_its_own_number_of_workers_after_an_edit() -> None:
    left = former(serving(APP))
    edited = replace(APP, server=replace(APP.server, workers=5))
    taken = with_current_ids(left, current_ids(edited, left))
    assert [str(action) for action in plan(edited, taken, NOW).actions] == ["scale instance i1 to 5 workers"]


def test_a_fallback_at_another_address_is_recognised() -> None:
    moved = replace(APP, address=Address(host="127.0.0.1", port=8002))
    back = replace(V1, address=moved.address)
    left = serving(APP, instances=(replace(an_instance(back, workers=3), revision=back.legacy_id(3)),))
    assert current_ids(moved, left)[back.legacy_id(3)] == back.id


def test_failures_sleep_and_overrides_are_translated() -> None:
    bound = Bound(service="db", type="sqlite", label="", plan="free", instance="i", grant="g", credentials="c")
    back = replace(V1, bindings=(bound,))
    left = Observed(
        source=a_look(APP),
        failures=(replace(a_trouble(V1), revision=FORMER_ID),),
        sleep_state=SleepState(gate_passed=FORMER_ID),
        override=Override(kind="rolled back", holds_for=FORMER_ID, revision=back),
    )
    taken = with_current_ids(left, current_ids(APP, left))
    assert taken.failure_of(V1.id) is not None
    assert taken.sleep_state.gate_passed == V1.id
    assert taken.override == Override(kind="rolled back", holds_for=V1.id, revision=back)


def test_ids_of_one_worker_are_what_they_were() -> None:
    app = an_app()
    assert current_ids(app, serving(app)) == {}


def test_without_a_manifest_what_is_known_to_be_good_is_recognised() -> None:
    left = former(serving(APP))
    assert current_ids(None, left) == {FORMER_ID: V1.id}
