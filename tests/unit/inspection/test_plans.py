"""What `plan` says of several apps in one line."""

from pathlib import Path

from reconciler.inspection.plans import AppPlan, exit_code, facts, plans_now, summary
from reconciler.manifests.catalog import Catalog
from reconciler.planning.apps.plan import plan
from reconciler.planning.states import State
from reconciler.planning.subject import Subject
from reconciler.settings.settings import Settings
from reconciler.state.paths import StatePaths
from reconciler.state.records import AppStatus
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


def test_the_plan_of_an_app_that_is_to_be_staged_says_what_staging_would_refuse(tmp_path: Path) -> None:
    for name in ("m", "app"):
        (tmp_path / name).mkdir()
    (tmp_path / "app" / "main.py").write_text("def app(environ, start_response):\n    pass\n")
    settings = Settings(manifests=tmp_path / "m", paths=StatePaths(state=tmp_path / "s"))
    for name, entrypoint in (("right", "main:app"), ("wrong", "mian:app")):
        (tmp_path / "m" / f"{name}.yaml").write_text(f"path: ../app\nentrypoint: {entrypoint}\n")
    plans, catalog = plans_now(settings, None)
    right, wrong = plans
    assert right.warnings == ()
    (warning,) = wrong.warnings
    assert warning.startswith("cannot use the entrypoint 'mian:app'")
    assert warning in str(facts(plans, catalog))
    assert exit_code(plans, catalog) == 2
