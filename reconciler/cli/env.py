"""`reconciler env`: the environment an instance of the wanted revision gets, and where it runs."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler.cli.options import examples, host_options, json_option, open_snapshot, paths_in_use
from reconciler.cli.table import show_json
from reconciler.inspection.printable import plain, quoted
from reconciler.settings.settings import Settings
from reconciler.state.paths import StatePaths
from reconciler.vault.secret import HIDDEN
from reconciler.vault.secret_patterns import masked

if TYPE_CHECKING:
    from reconciler.inspection.snapshot import HostSnapshot
    from reconciler.planning.apps.observed import ExternalInputs
    from reconciler.planning.desired import App
    from reconciler.services.vcap import BindingViews
    from reconciler.serving.gunicorn import Code, Identity, InstancePaths


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What an instance of an app's wanted revision runs in.

    `secret` are the variables whose values come from files; `shown` of its services is in the directory `files`.
    """

    environment: Mapping[str, str] = field(repr=False)
    code: "Code"
    places: "InstancePaths"
    secret: frozenset[str]
    shown: "BindingViews"
    files: Path


@click.command(epilog=examples("reconciler env blog", "reconciler env blog --reveal --json"))
@click.argument("app")
@click.option("--reveal", is_flag=True, help="Show secrets too.")
@json_option
@host_options
def command(settings: Settings, app: str, reveal: bool, as_json: bool) -> None:
    r"""The environment that an instance of APP gets: all of it, nothing else is passed on.

    What looks secret by its name (KEY, SECRET, TOKEN, PASSWORD, PASS, CREDENTIAL, DSN), passwords in URLs, and the
    credentials in VCAP_SERVICES are shown as ••• unless --reveal is given. Values are quoted for a shell;
    what cannot be seen in them is written as $'\x1b'.
    """
    found = wanted(app, settings)
    shown = dict(found.environment) if reveal else masked(found.environment, found.secret)
    if as_json:
        show_json(dict(sorted(shown.items())))
        return
    for name, value in sorted(shown.items()):
        click.echo(f"{name}={value if value == HIDDEN else quoted(value)}")


def wanted(app: str, settings: Settings) -> Wanted:
    """What the wanted revision of an app runs in; says why not when there is no such app or build."""
    from reconciler.inspection.catalog import asked_of

    paths = paths_in_use(settings.paths.state)
    with open_snapshot(paths) as snapshot:
        catalog = asked_of(settings, snapshot)
        asked = catalog.apps.get(app)
        if asked is None:
            raise click.ClickException(f"no manifest in {settings.manifests} asks for an app named '{plain(app)}'")
        inputs = snapshot.service_observer(settings, catalog.services, catalog.apps).inputs(asked, app)
        if inputs.missing:
            raise click.ClickException(f"{asked.name} waits for {plain('; '.join(inputs.missing))}")
        return _wanted(asked, inputs, snapshot, paths)


def _wanted(app: "App", inputs: "ExternalInputs", snapshot: "HostSnapshot", paths: StatePaths) -> Wanted:
    from reconciler.host.instance_secrets import given_of, told_of
    from reconciler.serving.gunicorn import Code, environment
    from reconciler.vault.vault import VaultLocked

    content = snapshot.known_content(app)
    revision = None if content is None else inputs.revision(app, content)
    staged = None if revision is None else snapshot.staged(app.name, revision.build.id)
    if revision is None or staged is None:
        raise click.ClickException(
            f"{app.name} is not staged yet as its manifest asks for it: 'reconciler status {app.name}' says how it"
            f" stands, 'reconciler logs {app.name} --which staging' how far it got"
        )
    code = Code(
        directory=staged.code,
        python=staged.python,
        target=staged.entrypoint,
        worker_class=staged.worker_class,
        runtime=f"python {staged.python_version}",
    )
    places = _places(paths, app.name)
    # The disk that is asked about is the home's; an app that never started has no home yet.
    seen = places if places.home.exists() else replace(places, home=paths.state)
    files = places.revisions / revision.id
    try:
        told = told_of(revision, snapshot.service_records)
        given = given_of(revision, told, files, snapshot.service_records)
    except VaultLocked as error:
        raise click.ClickException(f"cannot read the secrets of {app.name}: {error}") from error
    found = environment(revision, code, seen, _identity(app, revision.id, snapshot), given)
    return Wanted(
        environment={**found, "HOME": str(places.home)},
        code=code,
        places=places,
        secret=frozenset(revision.env_secrets) - revision.env.keys(),
        shown=told,
        files=files,
    )


def _identity(app: "App", revision: str, snapshot: "HostSnapshot") -> "Identity":
    """Of the instance that serves the revision; where none does, of one that would start now."""
    from reconciler.serving.gunicorn import Identity
    from reconciler.state.schema import state_id

    now = time.time()  # noqa: TID251  shown, and handed to the app for display
    running = [record for record in snapshot.instances.get(app.name, []) if record.revision == revision]
    return Identity(
        state=state_id(snapshot.paths.state),
        instance=running[-1].id if running else "not-started",
        started_at=now - (time.monotonic() - running[-1].started_at) if running else now,
    )


def _places(paths: StatePaths, name: str) -> "InstancePaths":
    from reconciler.serving.gunicorn import InstancePaths

    return InstancePaths(
        revisions=paths.revisions(name),
        readiness=paths.readiness(name),
        home=paths.home(name),
        scratch=paths.scratch(name),
        log=paths.log(name, "app"),
        access_log=paths.log(name, "access"),
        wakeup_pipe=paths.wakeup_pipe,
    )
