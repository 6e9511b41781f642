"""Translate the revision ids of commit 75b705b, where the number of workers was a part of them, to today's.

Without it an upgrade would replace every instance that has another number of workers than one.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from reconciler.planning.apps.app import App
from reconciler.planning.apps.observed import Observed
from reconciler.planning.apps.revision import Revision
from reconciler.planning.apps.revision_choice import as_of_today


def current_ids(app: App | None, observed: Observed) -> dict[str, str]:
    """Map former ids to current ones, for every revision of an app that an earlier daemon may have named.

    These are the desired revision, the known good ones and the one an operator rolled back to, with the number of
    workers of the manifest or of any instance. Ids that are the same in both are left out.
    """
    numbers = {instance.workers for instance in observed.instances} | ({app.workers} if app is not None else set())
    return {
        revision.legacy_id(workers): revision.id
        for revision in _candidates(app, observed)
        for workers in sorted(numbers - {1})
    }


def with_current_ids(observed: Observed, ids: Mapping[str, str]) -> Observed:
    """Return the observed state with every former id replaced by the current one."""
    override, slept = observed.override, observed.sleep_state.gate_passed
    return replace(
        observed,
        instances=tuple(replace(i, revision=ids.get(i.revision, i.revision)) for i in observed.instances),
        failures=tuple(replace(f, revision=ids.get(f.revision, f.revision)) for f in observed.failures),
        override=override and replace(override, holds_for=ids.get(override.holds_for, override.holds_for)),
        sleep_state=replace(observed.sleep_state, gate_passed=slept and ids.get(slept, slept)),
    )


def _candidates(app: App | None, observed: Observed) -> Iterator[Revision]:
    earlier = list(observed.known_good)
    if observed.override is not None and observed.override.revision is not None:
        earlier.append(observed.override.revision)
    yield from earlier
    if app is None:
        return
    yield from (today for revision in earlier if (today := as_of_today(app, revision, observed.inputs)) is not None)
    if observed.source is not None:
        yield app.revision(observed.source.content)  # a rollback holds for this one, whatever the bindings
        yield observed.inputs.revision(app, observed.source.content)
