"""The dependency graph of apps (`depends_on`)."""

from collections.abc import Callable, Iterable, Mapping

from reconciler.planning.apps.app import App


class DependencyGraph:
    """The dependencies of every desired app, and of every other app until it is removed."""

    def __init__(self) -> None:
        self._apps: Mapping[str, App] = {}
        self._needs: dict[str, tuple[str, ...]] = {}
        self._needed_by: dict[str, set[str]] = {}

    def follow(self, apps: Mapping[str, App]) -> None:
        """Learn the desired dependencies of every app."""
        self._apps = apps
        self._needs.update({name: app.depends_on for name, app in apps.items() if app.depends_on})
        for name in [n for n in self._needs if n in apps and not apps[n].depends_on]:
            del self._needs[name]
        self._invert()

    def forget(self, name: str) -> None:
        """Forget an app that was removed."""
        if self._needs.pop(name, None) is not None:
            self._invert()

    def depends_on(self, name: str) -> Iterable[str]:
        """Return the apps that this one needs."""
        return self._needs.get(name, ())

    def dependents(self, name: str) -> Iterable[str]:
        """Return the apps that need this one."""
        return sorted(needing) if (needing := self._needed_by.get(name)) else ()

    def unmet_dependencies(self, name: str, serves: Callable[[str], bool]) -> tuple[str, ...]:
        """Return the apps that this one needs and that do not serve."""
        needs = self._needs.get(name)
        return tuple(needed for needed in needs if not serves(needed)) if needs else ()

    def unknown_dependencies(self, name: str) -> tuple[str, ...]:
        """Return the names that this one needs and that no app has."""
        needs = self._needs.get(name)
        return tuple(needed for needed in needs if needed not in self._apps) if needs else ()

    def stopping_dependents(
        self, name: str, serves: Callable[[str], bool], is_alive: Callable[[str], bool]
    ) -> tuple[str, ...]:
        """Return the apps that need this one, are to be stopped, and serve or still answer their last requests."""
        dependents = self.dependents(name)
        return tuple(n for n in dependents if self._is_to_stop(n) and (serves(n) or is_alive(n))) if dependents else ()

    def _is_to_stop(self, name: str) -> bool:
        app = self._apps.get(name)
        return app is None or app.state in ("stopped", "maintenance")

    def _invert(self) -> None:
        self._needed_by = {}
        for name, needs in self._needs.items():
            for needed in needs:
                self._needed_by.setdefault(needed, set()).add(name)
