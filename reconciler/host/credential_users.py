"""The apps of this host, as far as services need to know of them."""

from reconciler.serving.instances import Instances
from reconciler.state.revision_history import RevisionHistory


class LocalApps:
    """Says which revisions of an app use credentials, or may use them again."""

    def __init__(self, instances: Instances, history: RevisionHistory) -> None:
        self._instances = instances
        self._history = history

    def revisions_alive(self, app: str) -> frozenset[str]:
        """Return the ids of the revisions that an instance of the app runs, or anything else of it."""
        served = frozenset(instance.revision for instance in self._instances.of(app))
        return served | {use.revision for use in self._instances.users.of(app)}

    def rollback_grants(self, app: str) -> frozenset[str]:
        """Return the grants that a revision uses to which the app may go back."""
        return self._history.of(app).rollback_grants
