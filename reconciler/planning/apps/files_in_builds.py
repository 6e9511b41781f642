"""Say which files an app has written into its builds, whose code and data a deploy replaces."""

from reconciler.planning.apps.app import App
from reconciler.planning.apps.observed import Observed
from reconciler.planning.wording import stayed_in_build, written_into_build


def files_in_builds(app: App, observed: Observed, build: str) -> str:
    """Return what an operator has to know while `build` serves, "" if nothing was written and stays behind."""
    if places := observed.written.get(build):
        return f"it {written_into_build(places)}"
    for other in reversed(observed.builds):
        left = tuple(place for place in observed.written.get(other, ()) if not app.recipe.persists(place))
        if left and other != build:
            return stayed_in_build(left, other)
    return ""
