"""Claim a directory for what is to run in the foreground, and say what this process is to become."""

import os
from dataclasses import replace

from reconciler.daemon.foreground.directories import claim
from reconciler.daemon.foreground.programs import Foreground, command, process, process_of, web_server
from reconciler.daemon.foreground.wanted import Wanted
from reconciler.host.app_places import AppPlaces, Place
from reconciler.planning.apps.app import App
from reconciler.planning.apps.revision import Revision
from reconciler.planning.processes.process import AppProcess, Process
from reconciler.serving.build_users import Use
from reconciler.serving.live_instance import CannotStart
from reconciler.staging.errors import StagingError
from reconciler.state.paths import StatePaths
from reconciler.state.schema import state_id


def started(wanted: Wanted, app: App, revision: Revision, places: AppPlaces, paths: StatePaths) -> Foreground:
    """Return what to become, with its directory claimed. Raises CannotStart, OSError."""
    use = Use(revision=revision.id, build=revision.build.id)
    directory, lock = claim(paths.foreground(app.name), use)
    try:
        place = places.in_foreground(revision, directory)
        _require_nothing(place)
        state = state_id(paths.state)
        if wanted.command:
            found = command(place, directory, state, wanted.command)
        elif wanted.process:
            asked = _process(wanted.process, app, places, place)
            found = process(place, directory, state, asked, _given(app, asked, places))
        else:
            found = web_server(place, directory, state, app.workers)
    except BaseException:
        os.close(lock)
        raise
    return replace(found, lock=lock, isolated=not revision.isolation)


def _require_nothing(place: Place) -> None:
    """Raise CannotStart if the host requires parts of isolation, which nothing in the foreground has."""
    required = () if place.confinements is None else place.confinements.required
    if required:
        raise CannotStart(
            f"isolation requires {', '.join(required)} (isolation.require of the host's settings),"
            " and 'exec' isolates nothing"
        )


def _process(name: str, app: App, places: AppPlaces, place: Place) -> AppProcess:
    try:
        lines = places.process_lines(place.revision)
    except StagingError as error:
        raise CannotStart(f"cannot read the Procfile of {app.name}: {error}") from error
    asked = next((each for each in app.processes if each.name == name), None)
    if asked is None and name not in lines:
        known = sorted({*(each.name for each in app.processes), *lines})
        listed = f"; it has {', '.join(known)}" if known else ""
        raise CannotStart(f"{app.name} has no process '{name}'{listed}")
    return process_of(AppProcess(app=app.name, process=asked or Process(name=name)), lines)


def _given(app: App, asked: AppProcess, places: AppPlaces) -> dict[str, str]:
    """Return the variables that a process takes from files of its own. Raises CannotStart."""
    if not asked.process.env_files:
        return {}
    ids, missing, _ = places.variables_of(app.name, asked.process)
    if missing:
        raise CannotStart("; ".join(missing))
    return places.values_of(ids)
