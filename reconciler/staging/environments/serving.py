"""A look at an app in; an environment that can serve it out: gunicorn's own worker, or uvicorn's where it has none."""

from collections.abc import Mapping
from dataclasses import replace

from reconciler.staging.detection.entry_point import EntryPoint
from reconciler.staging.detection.runtimes import Runtime
from reconciler.staging.detection.selection import Selection
from reconciler.staging.environments.identity import Ingredients, indexes
from reconciler.staging.environments.installer_env import clean_environment
from reconciler.staging.environments.store import Environment, EnvironmentRequest, Environments
from reconciler.staging.errors import StagingError

_FIRST_WITH_ASGI_WORKER = (3, 10)  # the oldest Python on which gunicorn has a worker for ASGI apps


def ingredients_of(plan: Selection, installer: str, environ: Mapping[str, str]) -> Ingredients:
    """What the environment is made from; `installer` says which programs make it."""
    needs_uvicorn = plan.entry.interface == "asgi" and plan.runtime.release < _FIRST_WITH_ASGI_WORKER
    return Ingredients(
        runtime=plan.runtime,
        dependencies=plan.dependencies,
        servers=("gunicorn", "uvicorn") if needs_uvicorn else ("gunicorn",),
        installer=installer,
        indexes=indexes(clean_environment(environ)),
        supply=plan.supply.digest if plan.supply else "",
    )


async def environment_for(
    store: Environments, order: EnvironmentRequest, entry: EntryPoint, runtimes: tuple[Runtime, ...]
) -> Environment:
    """Obtain it from the store, once more with uvicorn when the app's own pins leave gunicorn without; StagingError."""
    environment = await store.obtain(order, runtimes)
    if entry.interface != "asgi" or environment.asgi_worker:
        return environment
    if len(order.ingredients.servers) == 1:
        order.log.say(f"gunicorn {environment.gunicorn_version} has no worker for ASGI apps: uvicorn's is needed")
        both = replace(order.ingredients, servers=("gunicorn", "uvicorn"))
        environment = await store.obtain(replace(order, ingredients=both), runtimes)
    if not environment.asgi_worker:
        raise StagingError(
            f"it is an ASGI app, and neither gunicorn {environment.gunicorn_version} nor the uvicorn beside it"
            " can serve those: allow gunicorn 25 or newer in the requirements"
        )
    return environment
