"""The instances on record, by key and id: nothing is kept of a key that has none, nor of an app that was removed.

The key is the name of the app for those of its web server, `APP/PROCESS` for those of another process.
"""

from collections.abc import Collection, Iterator, Mapping

from reconciler.planning.apps.observed import Instance
from reconciler.serving.live_instance import LiveInstance


class HeldInstances:
    """Every instance on record, and to which logs the processes of each app have written."""

    def __init__(self) -> None:
        self._lives: dict[str, dict[str, LiveInstance]] = {}
        self._keys: dict[str, set[str]] = {}
        self._process_logs: dict[str, dict[str, None]] = {}

    def apps(self) -> frozenset[str]:
        """Return the apps that have an instance of their web server on record."""
        return frozenset([key for key in self._lives if "/" not in key])

    def apps_of_processes(self) -> frozenset[str]:
        """Return the apps that have an instance of another process than their web server on record."""
        return frozenset(key.partition("/")[0] for key in self.process_keys())

    def process_keys(self, app: str | None = None) -> frozenset[str]:
        """Return the keys of the processes, of one app or of all, that have an instance on record."""
        keys = self._lives if app is None else self._keys.get(app, ())
        return frozenset([key for key in keys if "/" in key])

    def process_logs(self) -> Mapping[str, Collection[str]]:
        """Return to which logs processes have written since the daemon started, such as `worker.1`, by app."""
        return self._process_logs

    def lives(self, key: str) -> tuple[LiveInstance, ...]:
        """Return the instances of a key, oldest first."""
        return tuple(self._lives.get(key, {}).values())

    def live(self, key: str, instance: str) -> LiveInstance | None:
        """Return one instance of a key, None once it is forgotten."""
        return self._lives.get(key, {}).get(instance)

    def all(self) -> Iterator[LiveInstance]:
        """Return every instance on record now."""
        return iter([live for lives in self._lives.values() for live in lives.values()])

    def of(self, app: str) -> tuple[Instance, ...]:
        """Return the instances of an app as they are now, oldest first."""
        return tuple([live.observed() for live in self._lives.get(app, {}).values()])

    def of_app(self, app: str) -> list[LiveInstance]:
        """Return the instances of an app, whatever they run."""
        return [live for key in self._keys.get(app, ()) for live in self.lives(key)]

    def hold(self, live: LiveInstance) -> None:
        """Hold an instance that was put on record."""
        self._lives.setdefault(live.record.key, {})[live.record.id] = live
        self._keys.setdefault(live.record.app, set()).add(live.record.key)
        if live.record.process:
            self._process_logs.setdefault(live.record.app, {})[live.log.stem] = None

    def let_go(self, live: LiveInstance) -> None:
        """Hold an instance no more that is on no record, if it was held."""
        key, app = live.record.key, live.record.app
        lives = self._lives.get(key)
        if lives is None:
            return
        lives.pop(live.record.id, None)
        if not lives:
            del self._lives[key]
            self._keys[app].remove(key)
            if not self._keys[app]:
                del self._keys[app]

    def forget_logs(self, app: str) -> None:
        """Forget to which logs the processes of an app have written."""
        self._process_logs.pop(app, None)
