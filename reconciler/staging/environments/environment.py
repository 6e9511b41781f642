"""An environment as an app asks for it, and as the store has it when it is finished."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.linux.dataclass import dataclass
from reconciler.staging.log import Log
from reconciler.staging.progress import Progress

if TYPE_CHECKING:  # what looks at finished environments needs nothing of what chooses and installs
    from reconciler.staging.build_cell import BuildCell
    from reconciler.staging.detection.offline import OfflinePackages
    from reconciler.staging.environments.identity import Ingredients

# An environment counts only once it contains this file.
RECORD = "finished.json"
# Of isolated apps: one that has packages as they were published, which no code of any has touched.
WITHOUT_BUILDS = "wheels only"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentRequest:
    """The environment that an `app` needs: its ingredients, and `previous`, those of the one it had ({} for none).

    `environ` are the variables of which an installer may see some, `offline` the packages in the app's source.
    `python_advice` says how to get another Python where neither a manifest nor a file of the app names it. What runs
    code of an isolated app's packages runs in its `cell`; the others have none.
    """

    app: str
    ingredients: "Ingredients"
    code: Path
    previous: Mapping[str, str]
    log: Log
    progress: Progress
    environ: Mapping[str, str]
    offline: "OfflinePackages | None" = None
    python_advice: str = ""
    cell: "BuildCell | None" = None

    @property
    def environment(self) -> dict[str, str]:
        """The variables of installers, made when they are needed: most apps wait for what another one installs."""
        from reconciler.staging.environments.installer_env import for_installers

        return for_installers(self.environ)

    @property
    def builds(self) -> bool:
        """Whether packages may be built from their sources, which runs their code."""
        return self.ingredients.builds != WITHOUT_BUILDS

    def with_builds(self, builds: str) -> "EnvironmentRequest":
        """Return the request for an environment that is isolated from others in that way."""
        return replace(self, ingredients=replace(self.ingredients, builds=builds))


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """A finished environment. `asgi_worker` is the gunicorn worker class for ASGI apps, "" if there is none.

    `reused` tells whether it came from the store as it was; `because` tells an operator why it was made or reused.
    """

    directory: str
    python: str
    python_version: str
    gunicorn_version: str
    asgi_worker: str
    because: str = ""
    reused: bool = False
