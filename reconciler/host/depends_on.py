"""What one app has to know of another: whom it depends on, and who depends on it."""

from collections.abc import Callable, Iterable, Mapping

from reconciler.planning.desired import App


class DependencyGraph:
    """Who depends on whom, as asked; what an app that is going depended on is known until it is gone."""

    def __init__(self) -> None:
        self._apps: Mapping[str, App] = {}
        self._needs: dict[str, tuple[str, ...]] = {}
        self._needed_by: dict[str, set[str]] = {}

    def follow(self, apps: Mapping[str, App]) -> None:
        """Learn what is asked of every app now."""
        self._apps = apps
        self._needs.update({name: app.depends_on for name, app in apps.items() if app.depends_on})
        for name in [n for n in self._needs if n in apps and not apps[n].depends_on]:
            del self._needs[name]
        self._turn_round()

    def forget(self, name: str) -> None:
        """An app is gone for good."""
        if self._needs.pop(name, None) is not None:
            self._turn_round()

    def depends_on(self, name: str) -> Iterable[str]:
        """The apps that this one needs."""
        return self._needs.get(name, ())

    def dependents(self, name: str) -> Iterable[str]:
        """The apps that need this one."""
        return sorted(self._needed_by.get(name, ()))

    def unmet_dependencies(self, name: str, serves: Callable[[str], bool]) -> tuple[str, ...]:
        """The apps that this one needs and that do not serve."""
        return tuple(needed for needed in self._needs.get(name, ()) if not serves(needed))

    def stopping_dependents(self, name: str, serves: Callable[[str], bool]) -> tuple[str, ...]:
        """The apps that need this one, are asked to end, and still serve."""
        return tuple(n for n in self.dependents(name) if self._is_ending(n) and serves(n))

    def _is_ending(self, name: str) -> bool:
        app = self._apps.get(name)
        return app is None or app.state in ("stopped", "maintenance")

    def _turn_round(self) -> None:
        self._needed_by = {}
        for name, needs in self._needs.items():
            for needed in needs:
                self._needed_by.setdefault(needed, set()).add(name)
