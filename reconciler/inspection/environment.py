"""Tell the environment that an instance of an app's wanted revision gets, complete and with its secrets."""

import time
from collections.abc import Mapping
from dataclasses import field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.inspection.manifests import desired
from reconciler.inspection.printable import plain
from reconciler.inspection.snapshot import HostSnapshot
from reconciler.linux.dataclass import dataclass
from reconciler.settings.settings import Settings

if TYPE_CHECKING:
    from reconciler.planning.apps.app import App
    from reconciler.planning.apps.observed import ExternalInputs
    from reconciler.planning.apps.revision import Revision
    from reconciler.services.binding_views import BindingViews
    from reconciler.serving.marks import Identity
    from reconciler.serving.programs.gunicorn import Code, InstancePaths


class NoEnvironment(Exception):
    """Why an app has no environment."""


class NoApp(NoEnvironment):
    """No manifest describes an app of that name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What an instance of an app's wanted revision runs with.

    `secret` names the variables whose values come from files; `views` of its bindings belong in the directory `files`.
    """

    environment: Mapping[str, str] = field(repr=False)
    revision: "Revision"
    code: "Code"
    places: "InstancePaths"
    secret: frozenset[str]
    views: "BindingViews"
    files: Path


def surroundings(app: str, settings: Settings, snapshot: HostSnapshot) -> Surroundings:
    """Return what the wanted revision of an app runs with. Raises NoEnvironment if there is no such app or build."""
    catalog = desired(settings, snapshot)
    found = catalog.apps.get(app)
    if found is None:
        raise NoApp(f"no manifest in {settings.manifests} describes an app named '{plain(app)}'")
    inputs = snapshot.service_observer(settings, catalog.services, catalog.apps).inputs(found, app)
    if inputs.missing:
        raise NoEnvironment(
            f"{found.name} cannot start yet: {plain('; '.join(inputs.missing))}; see 'reconciler status {found.name}'"
        )
    return _surroundings(found, inputs, snapshot)


def _surroundings(app: "App", inputs: "ExternalInputs", snapshot: HostSnapshot) -> Surroundings:
    from reconciler.host.builds import code_of
    from reconciler.host.instance_secrets import binding_views, injected_env
    from reconciler.serving.programs.gunicorn import InstancePaths, environment
    from reconciler.serving.sandbox import todays_sandbox
    from reconciler.vault.vault import VaultLocked

    content = snapshot.known_content(app)
    revision = None if content is None else inputs.revision(app, content)
    staged = None if revision is None else snapshot.staged(app.name, revision.build.id)
    if revision is None or staged is None:
        raise NoEnvironment(
            f"the wanted revision of {app.name} is not staged yet: see 'reconciler status {app.name}' and"
            f" 'reconciler logs {app.name} --which staging'"
        )
    places = InstancePaths.of(snapshot.paths, app.name)
    # The environment depends on the home's disk, and an app that never started has no home yet.
    existing = places if places.home.exists() else replace(places, home=snapshot.paths.state)
    files = places.revisions / revision.id
    try:
        views = binding_views(revision, snapshot.service_records)
        given = replace(injected_env(revision, views, files, snapshot.service_records), limits=app.limits)
    except VaultLocked as error:
        raise NoEnvironment(f"cannot read the secrets of {app.name}: {error}") from error
    found = environment(revision, code_of(staged), existing, _identity(app, revision.id, snapshot), given)
    return Surroundings(
        environment={**todays_sandbox().environment, **found, "HOME": str(places.home)},
        revision=revision,
        code=code_of(staged),
        places=places,
        secret=frozenset(revision.env_secrets) - revision.env.keys(),
        views=views,
        files=files,
    )


def _identity(app: "App", revision: str, snapshot: HostSnapshot) -> "Identity":
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
