"""What `plan` says of several apps in one line."""

from contextlib import closing
from dataclasses import replace
from pathlib import Path

from reconciler.cli.plan import _lines
from reconciler.inspection.plans import AppPlan, exit_code, facts, plans_now, summary
from reconciler.manifests.catalog import Catalog
from reconciler.planning.apps.plan import plan
from reconciler.planning.states import State
from reconciler.planning.subject import Subject
from reconciler.settings.settings import Settings
from reconciler.state.paths import StatePaths
from reconciler.state.records import AppStatus, Records
from reconciler.state.schema import open_database
from tests.support.plans import APP, V1, V2
from tests.world import NOW, a_look, an_instance, serving


def planned(name: str, state: State = "running", *, deploys: bool = False, wait_s: float | None = None) -> AppPlan:
    """The plan of an app that serves, or has a new source, of which the daemon reports a state."""
    seen = serving(APP, source=a_look(APP, "c2")) if deploys else serving(APP, instances=(an_instance(V1),))
    told = AppStatus(state=state, message="told", wanted=V2.id, since=0.0, next_try_at=None)
    return AppPlan(subject=Subject("app", name), plan=plan(APP, seen, NOW), wait_s=wait_s, told=told)


def test_apps_that_something_is_wrong_with_are_counted_whether_there_is_something_to_do_or_not() -> None:
    apps = [
        planned("a"),
        planned("b", "degraded"),
        planned("c", "degraded", deploys=True),
        planned("d", "failing", deploys=True, wait_s=3.0),
        planned("e", "failing", deploys=True),
        planned("f", deploys=True),
    ]
    actions = sum(len(each.actions) for each in apps)
    assert summary(apps, Catalog()) == (
        f"{actions} actions for 4 apps, 1 up to date, 2 degraded, 1 waiting to retry, 1 failing"
    )
    assert summary(apps[:1], Catalog()) == "nothing to do: 1 app up to date"


def test_actions_that_follow_one_in_back_off_are_told_as_what_comes_then() -> None:
    waits = planned("a", "failing", deploys=True, wait_s=3.0)
    assert waits.told is not None
    failed = replace(waits, told=replace(waits.told, reason="action-failed"))
    assert [line.startswith("a: then ") for line in _lines(failed)] == [False, *[True] * len(failed.actions)]
    assert next(_lines(failed)) == "a: retry in 3s — told"
    for other in (waits, replace(failed, wait_s=None)):
        assert not any(line.startswith("a: then ") for line in _lines(other))


def host_with(place: Path, **manifests: str) -> Settings:
    """The settings of a host on which no daemon was running yet, with these manifests beside the source `app`."""
    for name in ("m", "app"):
        (place / name).mkdir()
    (place / "app" / "main.py").write_text("def app(environ, start_response):\n    pass\n")
    for name, text in manifests.items():
        (place / "m" / f"{name}.yaml").write_text(text)
    return Settings(manifests=place / "m", paths=StatePaths(state=place / "s"))


def follows(settings: Settings, only: str | None = None) -> dict[str, list[str]]:
    """What each start comes after, by app."""
    plans, _ = plans_now(settings, only)
    return {str(each.subject): [str(one) for one in each.start_follows] for each in plans if each.start_follows}


def test_a_start_that_waits_only_for_what_the_same_plan_brings_is_told(tmp_path: Path) -> None:
    settings = host_with(
        tmp_path,
        db="kind: service\nname: db\ntype: sqlite\n",
        shop="path: ../app\nservices: [db]\n",
        front="path: ../app\ndepends_on: [shop]\nservices: [db]\n",
    )
    assert follows(settings) == {"shop": ["service db"], "front": ["service db", "shop"]}
    assert follows(settings, "front") == {"front": ["service db", "shop"]}
    plans, catalog = plans_now(settings, "shop")
    assert "'start_follows': ['service db']" in str(facts(plans, catalog))
    assert exit_code(plans, catalog) == 2


def test_a_start_that_waits_for_what_cannot_come_is_not_told(tmp_path: Path) -> None:
    settings = host_with(
        tmp_path,
        pg="kind: service\nname: pg\ntype: postgresql\n",  # no server of this host can provide it
        shop="path: ../app\nservices: [pg]\n",
        none="path: ../app\nservices: [nowhere]\n",
        front="path: ../app\ndepends_on: [shop]\n",
        wrong="path: ../app\nentrypoint: mian:app\n",
        behind="path: ../app\ndepends_on: [wrong]\n",
    )
    assert follows(settings) == {}
    (pg,) = plans_now(settings, "pg")[0]
    assert pg.error is not None
    assert "no PostgreSQL server is configured" in pg.error
    (shop,) = plans_now(settings, "shop")[0]
    assert shop.actions  # it is staged meanwhile
    assert shop.message == "waiting: service pg: it has not been created yet"


def test_the_plan_of_an_app_that_is_to_be_staged_says_what_staging_would_refuse(tmp_path: Path) -> None:
    manifest = "path: ../app\nentrypoint: "
    settings = host_with(tmp_path, right=f"{manifest}main:app\n", wrong=f"{manifest}mian:app\n")
    plans, catalog = plans_now(settings, None)
    right, wrong = plans
    assert right.warnings == ()
    (warning,) = wrong.warnings
    assert warning.startswith("cannot use the entrypoint 'mian:app'")
    assert warning in str(facts(plans, catalog))
    assert exit_code(plans, catalog) == 2


def test_without_a_daemon_nothing_is_about_to_be_tried_again(tmp_path: Path) -> None:
    settings = host_with(tmp_path, shop="path: ../app\n")
    failing = AppStatus(state="failing", message="no", wanted=None, since=0.0, next_try_at=4e9, reason="staging-failed")
    settings.paths.state.mkdir()
    with closing(open_database(settings.paths.database)) as database:
        Records(database).set_app_status("shop", failing)
    (shop,), _ = plans_now(settings, "shop")
    assert shop.actions
    assert (shop.wait_s, shop.told) == (None, None)


def test_what_follows_for_processes_is_listed_before_and_without_a_daemon(tmp_path: Path) -> None:
    processes = "processes: {worker: {command: python w.py, count: 2}, beat: {command: python b.py, single: true}}"
    settings = host_with(tmp_path, shop=f"path: ../app\n{processes}\n")
    (found,), catalog = plans_now(settings, "shop")
    assert list(_lines(found))[-2:] == [
        "shop/beat: start 1 once its web serves — it was not running",
        "shop/worker: start 2 once its web serves — it was not running",
    ]
    assert [each["process"] for each in facts([found], catalog)["apps"][0]["processes"]] == ["beat", "worker"]  # type: ignore[index]
    assert exit_code([found], catalog) == 2
