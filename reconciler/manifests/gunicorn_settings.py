"""Check the `gunicorn` field for settings that the daemon owns, and say what to use instead.

Which other settings exist depends on each app's own gunicorn, so their names are not checked here.
"""

from reconciler.documents.problem import Problem
from reconciler.documents.tree import Node
from reconciler.planning.apps.owned_settings import OWNED


def owned_settings(file: str, tree: Node) -> list[Problem]:
    """Return a problem for each of gunicorn's settings in the document that the daemon owns."""
    settings = tree.parts.get("gunicorn")
    keys = settings.keys if settings else {}
    return [
        Problem(
            file=file, line=line, column=column, path=f"gunicorn.{name}", message=f"cannot be set here: {OWNED[name]}"
        )
        for name, (line, column) in keys.items()
        if name in OWNED
    ]
