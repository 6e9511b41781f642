"""Say which images of placed apps are needed on, and remove the others, from registries and from this host."""

import contextlib
import json
import time
from collections.abc import Callable, Collection, Iterator
from functools import partial
from typing import Any

from reconciler.inspection.snapshot import HostSnapshot
from reconciler.linux.files import remove
from reconciler.linux.regular_files import read_own
from reconciler.settings.settings import Settings
from reconciler.staging.errors import StagingError
from reconciler.staging.images.layout import locked_layout
from reconciler.staging.images.pushed_images import PushedImage, PushedImages, apps_with_images
from reconciler.staging.images.reference import Reference, reference_of
from reconciler.staging.images.registry import Patience, Registry
from reconciler.staging.images.registry_login import login_for
from reconciler.staging.images.registry_transport import Transport, trusting
from reconciler.staging.images.unused_images import Removed, remove_unused

_ANSWER_S = 60.0
_MOST_BYTES = 1 << 20


def collect_images(
    settings: Settings, older_than_s: float, *, dry_run: bool, patience: Patience | None = None
) -> Removed:
    """Remove every image that no revision needs and that was pushed before that; return what became of them. Blocks.

    One of an app that is being pushed stays, with a sentence. `patience` is with registries that do not answer.
    """
    removed = Removed()
    paths = settings.paths
    for app in apps_with_images(paths.pushed_images):
        layout = paths.images / app
        layout.mkdir(parents=True, exist_ok=True)  # for its lock
        try:
            with locked_layout(layout):
                found = _collected(
                    settings, app, older_than_s, partial(_registry_of, settings, patience), dry_run=dry_run
                )
        except (StagingError, OSError, ValueError) as error:
            removed.kept.append(f"images of {app}: {error}")
            continue
        removed.images.extend(found.images)
        removed.kept.extend(found.kept)
    return removed


def _collected(
    settings: Settings,
    app: str,
    older_than_s: float,
    registry_of: Callable[[Reference], Registry | None],
    *,
    dry_run: bool,
) -> Removed:
    # Read only now: nothing is pushed meanwhile that it does not tell of.
    with contextlib.closing(HostSnapshot(settings.paths)) as snapshot:
        revisions, is_known = _needed(settings, snapshot, app), _is_known(settings, snapshot, app)
    record = PushedImages(settings.paths.pushed_images, app)
    last = {each.repository: each for each in record.all()}
    until = time.time() - older_than_s  # noqa: TID251  compared with what another process wrote

    def needed(image: PushedImage) -> bool:
        return image.revision in revisions or image.at > until or (is_known and last[image.repository] == image)

    removed = Removed()
    layout = settings.paths.images / app
    if not dry_run and not is_known and all(each.at <= until for each in last.values()):
        if (layout / "index.json").exists():
            removed.images.append(str(layout))
        remove(layout)
    found = remove_unused(record, needed, registry_of, dry_run=dry_run)
    return Removed(images=[*removed.images, *found.images], kept=found.kept)


def _needed(settings: Settings, snapshot: HostSnapshot, app: str) -> Collection[str]:
    """Return the revisions that run, that pods may be of, and to which the app may go back."""
    status = snapshot.app_statuses.get(app)
    return {
        *snapshot.revisions_alive(app),
        *snapshot.revisions_kept(app),
        *([status.wanted] if status is not None and status.wanted else ()),
        *(str(revision) for each in _noted(settings, app) for revision, _ in each.get("serving") or ()),
    }


def _is_known(settings: Settings, snapshot: HostSnapshot, app: str) -> bool:
    """Return whether a manifest asks for an app, or anything of it is in a cluster."""
    return app in snapshot.app_statuses or any(_noted(settings, app))


def _noted(settings: Settings, app: str) -> Iterator[dict[str, Any]]:
    """Yield what is on record of an app in each cluster. Raises OSError, ValueError: it is not known what is there."""
    clusters = settings.paths.clusters
    for directory in clusters.iterdir() if clusters.is_dir() else ():
        with contextlib.suppress(FileNotFoundError):
            yield json.loads(read_own(directory / app, _MOST_BYTES))


def _registry_of(settings: Settings, patience: Patience | None, to: Reference) -> Registry | None:
    for cluster in settings.clusters.values():
        if reference_of(f"{cluster.registry}/x").registry == to.registry:
            login, trust = login_for(to.registry, cluster.registry_auth), trusting(cluster.registry_ca)
            transport = Transport(to.registry, plain=cluster.plain_http, trust=trust, answer_s=_ANSWER_S)
            scopes = (f"repository:{to.repository}:pull,push,delete",)
            return Registry(transport, scopes, login, patience=patience or Patience())
    return None
