"""The real host runs a release command as tests/world.py says of it."""

from dataclasses import replace

from reconciler.planning.apps.actions import Release
from reconciler.planning.apps.app import App
from reconciler.planning.apps.code_commands import CodeCommands
from reconciler.planning.apps.observed import Failure
from tests.contract.machine import Machine, a_life, on_the_loop
from tests.support.site import Site


def release(machine: Machine, app: App) -> Release:
    revision = app.revision(machine.content(app.name))
    mark = revision.release_mark(machine.seen(app.name).commands.get(revision.build.id, CodeCommands()))
    assert mark is not None
    failing = Failure(revision=revision.id, kind="rejected", count=1, last_at=0.0, reason="")
    return Release(release=mark, revision=revision, failing=failing, cause="the test says so")


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
            "cannot release blog: the release command 'echo no such table >&2; exit 3' failed (exit code 3):"
            " no such table; 'reconciler logs blog --which staging' shows the whole output"
        )
        assert machine.seen().released == frozenset()


@on_the_loop
async def test_what_the_code_asks_for_is_run_before_its_build_serves_also_by_the_next_daemon(site: Site) -> None:
    with a_life(site) as machine:
        app = machine.app(env={"GREETING": "hello"})
        site.save(site.root / "apps/blog/Procfile", 'web: gunicorn wsgi\nrelease: echo "$GREETING" > told\n')
        await machine.staged(app)
        asked = machine.seen().commands
        assert list(asked.values()) == [CodeCommands(release='echo "$GREETING" > told')]
    with a_life(site) as machine:
        assert machine.seen().commands == asked
        await machine.holds(release(machine, app))
        (told,) = site.paths.builds("blog").glob("*/code/told")
        assert told.read_text() == "hello\n"
        events = [text for _, kind, text in site.events("blog") if kind in {"releasing", "released"}]
        assert all('the release line of Procfile (`echo "$GREETING" > told`)' in text for text in events), events


@on_the_loop
async def test_static_files_are_collected_unless_the_app_says_that_it_has_none(site: Site) -> None:
    with a_life(site) as machine:
        app = machine.app()
        source = site.root / "apps/blog"
        site.save(
            source / "manage.py", "import sys  # django, 'DJANGO_SETTINGS_MODULE', 'settings'\nsys.exit(sys.argv[1])"
        )
        site.save(
            source / "settings.py", "INSTALLED_APPS = ['django.contrib.staticfiles']\nSTATIC_ROOT = 'collected'\n"
        )
        await machine.staged(app)
        await machine.do(release(machine, app))
        (trouble,) = machine.seen().failures
        assert "collectstatic --noinput' failed (exit code 1): collectstatic; 'reconciler logs" in trouble.reason
        assert trouble.reason.endswith("; it is collectstatic, which DISABLE_COLLECTSTATIC: 1 under `env` turns off")
        without = replace(app, env={"DISABLE_COLLECTSTATIC": "1"})
        await machine.do(release(machine, without))
        assert release(machine, without).release in machine.seen().released
