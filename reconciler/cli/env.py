r"""Show the environment an app gets.

It is complete: an instance of APP inherits nothing from the daemon. Variables with a secret name (KEY, SECRET,
TOKEN, PASSWORD, PASS, CREDENTIAL, DSN), passwords in URLs, and the credentials in VCAP_SERVICES are printed as •••
unless --reveal is given. Values are quoted for a shell; invisible characters are written as in $'\x1b'.
"""

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
    from reconciler.planning.apps.app import App
    from reconciler.planning.apps.observed import ExternalInputs
    from reconciler.services.binding_views import BindingViews
    from reconciler.serving.marks import Identity
    from reconciler.serving.programs.gunicorn import Code, InstancePaths


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What an instance of an app's wanted revision runs with.

    `secret` names the variables whose values come from files; `views` of its bindings belong in the directory `files`.
    """

    environment: Mapping[str, str] = field(repr=False)
    code: "Code"
    places: "InstancePaths"
    secret: frozenset[str]
    views: "BindingViews"
    files: Path


@click.command(help=__doc__, epilog=examples("reconciler env blog", "reconciler env blog --reveal --json"))
@click.argument("app")
@click.option("--reveal", is_flag=True, help="Print secrets, too.")
@json_option
@host_options
def command(settings: Settings, app: str, reveal: bool, as_json: bool) -> None:
    found = surroundings(app, settings)
    shown = dict(found.environment) if reveal else masked(found.environment, found.secret)
    if as_json:
        show_json(dict(sorted(shown.items())))
        return
    for name, value in sorted(shown.items()):
        click.echo(f"{name}={value if value == HIDDEN else quoted(value)}")


def surroundings(app: str, settings: Settings) -> Surroundings:
    """Return what the wanted revision of an app runs with. Raises ClickException if there is no such app or build."""
    from reconciler.inspection.manifests import desired

    paths = paths_in_use(settings.paths.state)
    with open_snapshot(paths) as snapshot:
        catalog = desired(settings, snapshot)
        found = catalog.apps.get(app)
        if found is None:
            raise click.ClickException(f"no manifest in {settings.manifests} describes an app named '{plain(app)}'")
        inputs = snapshot.service_observer(settings, catalog.services, catalog.apps).inputs(found, app)
        if inputs.missing:
            raise click.ClickException(
                f"{found.name} cannot start yet: {plain('; '.join(inputs.missing))};"
                f" see 'reconciler status {found.name}'"
            )
        return _surroundings(found, inputs, snapshot, paths)


def _surroundings(app: "App", inputs: "ExternalInputs", snapshot: "HostSnapshot", paths: StatePaths) -> Surroundings:
    from reconciler.host.builds import code_of
    from reconciler.host.instance_secrets import binding_views, injected_env
    from reconciler.serving.programs.gunicorn import InstancePaths, environment
    from reconciler.serving.sandbox import todays_sandbox
    from reconciler.vault.vault import VaultLocked

    content = snapshot.known_content(app)
    revision = None if content is None else inputs.revision(app, content)
    staged = None if revision is None else snapshot.staged(app.name, revision.build.id)
    if revision is None or staged is None:
        raise click.ClickException(
            f"the wanted revision of {app.name} is not staged yet: see 'reconciler status {app.name}' and"
            f" 'reconciler logs {app.name} --which staging'"
        )
    places = InstancePaths.of(paths, app.name)
    # The environment depends on the home's disk, and an app that never started has no home yet.
    existing = places if places.home.exists() else replace(places, home=paths.state)
    files = places.revisions / revision.id
    try:
        views = binding_views(revision, snapshot.service_records)
        given = injected_env(revision, views, files, snapshot.service_records)
    except VaultLocked as error:
        raise click.ClickException(f"cannot read the secrets of {app.name}: {error}") from error
    found = environment(revision, code_of(staged), existing, _identity(app, revision.id, snapshot), given)
    return Surroundings(
        environment={**todays_sandbox().environment, **found, "HOME": str(places.home)},
        code=code_of(staged),
        places=places,
        secret=frozenset(revision.env_secrets) - revision.env.keys(),
        views=views,
        files=files,
    )


def _identity(app: "App", revision: str, snapshot: "HostSnapshot") -> "Identity":
    """Return the identity of the instance that serves the revision, or of one that would start now."""
    from reconciler.serving.marks import Identity
    from reconciler.state.schema import state_id

    now = time.time()  # noqa: TID251  shown, and handed to the app for display
    running = [record for record in snapshot.instances.get(app.name, []) if record.revision == revision]
    return Identity(
        state=state_id(snapshot.paths.state),
        instance=running[-1].id if running else "not-started",
        started_at=now - (time.monotonic() - running[-1].started_at) if running else now,
    )
