"""Obtain an environment that can serve an app: with gunicorn's own worker, or uvicorn's where gunicorn has none."""

from collections.abc import Mapping
from dataclasses import replace

from reconciler.staging.detection.entry_point import EntryPoint
from reconciler.staging.detection.runtimes import Runtime
from reconciler.staging.detection.selection import Selection
from reconciler.staging.environments.environment import WITHOUT_BUILDS, Environment, EnvironmentRequest
from reconciler.staging.environments.identity import ISOLATION, Ingredients, indexes, variables_digest
from reconciler.staging.environments.installer_env import clean_environment, variables
from reconciler.staging.environments.installers import is_old
from reconciler.staging.environments.store import Environments
from reconciler.staging.errors import NeedsBuild, StagingError

_FIRST_WITH_ASGI_WORKER = (3, 10)  # the oldest Python on which gunicorn has a worker for ASGI apps


def ingredients_of(selection: Selection, installer: str, environ: Mapping[str, str]) -> Ingredients:
    """Return what the environment is made from; `installer` names the programs that make it."""
    needs_uvicorn = selection.entry.interface == "asgi" and selection.runtime.release < _FIRST_WITH_ASGI_WORKER
    return Ingredients(
        runtime=selection.runtime,
        dependencies=selection.dependencies,
        servers=("gunicorn", "uvicorn") if needs_uvicorn else ("gunicorn",),
        installer=installer,
        indexes=indexes(clean_environment(environ)),
        offline=selection.offline.digest if selection.offline else "",
        variables=variables_digest(selection.dependencies, variables(environ)),
        pkg_resources=selection.imports_pkg_resources and not is_old(selection.runtime),
    )


async def environment_for(
    store: Environments, request: EnvironmentRequest, entry: EntryPoint, runtimes: tuple[Runtime, ...]
) -> Environment:
    """Obtain an environment from the store, a second time with uvicorn if the app pins a gunicorn without ASGI."""
    environment = await _obtained(store, request, runtimes)
    if entry.interface != "asgi" or environment.asgi_worker:
        return environment
    if len(request.ingredients.servers) == 1:
        request.log.step(f"gunicorn {environment.gunicorn_version} has no ASGI worker: adding uvicorn")
        both = replace(request.ingredients, servers=("gunicorn", "uvicorn"))
        environment = await _obtained(store, replace(request, ingredients=both), runtimes)
    if not environment.asgi_worker:
        raise StagingError(
            f"it is an ASGI app, but neither gunicorn {environment.gunicorn_version} nor the installed uvicorn"
            " has an ASGI worker: allow gunicorn 25 or newer in the requirements"
        )
    return environment


async def _obtained(store: Environments, request: EnvironmentRequest, runtimes: tuple[Runtime, ...]) -> Environment:
    """Obtain an environment; an isolated app shares one of wheels with others, and never one that was built for it."""
    if request.cell is None:
        return await store.obtain(request, runtimes)
    own = request.with_builds(f"builds of {request.cell.app}")
    if not _must_build(own):
        try:
            return await store.obtain(request.with_builds(WITHOUT_BUILDS), runtimes)
        except NeedsBuild as error:
            request.log.step(f"{error}: it is built in a cell, for this app alone")
    return await store.obtain(own, runtimes)


def _must_build(own: EnvironmentRequest) -> bool:
    """Whether wheels alone will not do, or did not do for the app's previous environment."""
    made = own.ingredients
    return bool(made.dependencies.trees) or is_old(made.runtime) or own.previous.get(ISOLATION) == made.facts[ISOLATION]
