"""The real host runs a release command as tests/world.py says of it."""

from reconciler.planning.apps.actions import Release
from reconciler.planning.apps.app import App
from reconciler.planning.apps.observed import Failure
from tests.contract.machine import Machine, a_life, on_the_loop
from tests.support.site import Site


def release(machine: Machine, app: App) -> Release:
    revision = app.revision(machine.content(app.name))
    assert revision.release_id is not None
    failing = Failure(revision=revision.id, kind="rejected", count=1, last_at=0.0, reason="")
    return Release(release=revision.release_id, revision=revision, failing=failing, cause="the test says so")


@on_the_loop
async def test_release_runs_once_in_the_build_with_what_an_instance_gets(site: Site) -> None:
    with a_life(site) as machine:
        command = 'pwd; python -c "import gunicorn"; echo "$GREETING $HOME $VCAP_SERVICES"; echo done >> $HOME/count'
        app = machine.app(release=command, env={"GREETING": "hello", "API_TOKEN": "hunter2"})
        await machine.staged(app)
        await machine.holds(release(machine, app))
        log = site.paths.log("blog", "staging").read_text()
        assert f"    hello {site.paths.home('blog')} {{" in log
        assert str(site.paths.builds("blog")) in log
        assert "hunter2" not in log
    with a_life(site) as machine:
        assert release(machine, app).release in machine.seen().released


@on_the_loop
async def test_a_release_command_that_fails_is_not_remembered(site: Site) -> None:
    with a_life(site) as machine:
        app = machine.app(release="echo no such table >&2; exit 3")
        await machine.staged(app)
        await machine.do(release(machine, app))
        (trouble,) = machine.seen().failures
        assert trouble.reason == (
            "cannot release blog: its release command failed: exit code 3\nno such table\n"
            "'reconciler logs blog --which staging' shows the whole output"
        )
        assert machine.seen().released == frozenset()
