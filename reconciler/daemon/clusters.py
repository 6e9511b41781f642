"""Bring the clusters of the host's settings into one daemon: what their Worlds need of it, and how apps become objects.

Only a host with clusters imports this.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.cluster.api.client import client_of
from reconciler.cluster.findings import Exporting
from reconciler.cluster.moves import Standings
from reconciler.cluster.objects import exported
from reconciler.cluster.observed import Rendered
from reconciler.cluster.ownership import manager_of
from reconciler.cluster.target import Target
from reconciler.cluster.targets import target_of
from reconciler.cluster.world import ClusterWorld
from reconciler.convergence.wake_queue import WakeQueue
from reconciler.daemon.foreground.image import ImageRequest, write
from reconciler.host.app_places import AppPlaces
from reconciler.host.stores import Stores
from reconciler.inspection.exports import CannotExport, document_in, values_of
from reconciler.inspection.snapshot import HostSnapshot
from reconciler.linux.dataclass import dataclass
from reconciler.planning.apps.app import App
from reconciler.planning.apps.revision import Revision
from reconciler.serving.instances import Instances
from reconciler.settings.clusters import Cluster
from reconciler.settings.settings import Settings
from reconciler.staging.errors import StagingError
from reconciler.staging.images.layout import locked_layout
from reconciler.staging.images.push import Push, PushRequest
from reconciler.staging.images.pushed_images import PushedImage, PushedImages
from reconciler.staging.images.reference import reference_of
from reconciler.staging.images.registry import Registry
from reconciler.staging.images.registry_login import login_for
from reconciler.staging.images.registry_transport import Transport, trusting
from reconciler.staging.stager import Stager
from reconciler.state.schema import state_id

if TYPE_CHECKING:
    from reconciler.daemon.manifest_loop import ManifestLoop

_ANSWER_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbours:
    """What the Worlds of clusters are told of an app by the rest of the daemon."""

    standings: Standings
    places: AppPlaces
    instances: Instances
    wakeups: WakeQueue
    unreadable: Callable[[], Mapping[str, object]]
    listens: Callable[[str], bool]
    is_armed: Callable[[str], bool]
    is_waited_for: Callable[[str], bool]

    def held(self, app: str) -> bool:
        """Return whether the manifest of an app cannot be read."""
        return app in self.unreadable()

    def is_met_here(self, app: str) -> bool:
        """Return whether a client of an app gets to this host, where an instance serves or is about to."""
        return self._serves(app) or self.listens(app)

    def answers_here(self, app: str) -> bool:
        """Return whether a client of an app is answered on this host, be it after the app has been woken."""
        return self._serves(app) or self.is_armed(app)

    def _serves(self, app: str) -> bool:
        return any(instance.serves and instance.addresses for instance in self.instances.of(app))

    def in_force_since(self, app: str, revision: str) -> float | None:
        """Return since when a revision is in force, None if it is not; monotonic seconds."""
        found = (each for each in self.instances.of(app) if each.revision == revision and each.serves)
        return max((each.started_at for each in found if not each.addresses), default=None)

    def wake(self, app: str) -> None:
        """Have the World of this host look at an app."""
        self.wakeups.wake(app)


@dataclass(frozen=True, slots=True, kw_only=True)
class Objects:
    """Makes the objects of apps: their images are in the registry then. `manifests` returns what is in force."""

    settings: Settings
    stager: Stager
    manifests: "Callable[[], ManifestLoop]"
    _making: dict[str, "asyncio.Task[Rendered]"] = field(default_factory=dict, init=False, repr=False)

    async def __call__(self, cluster: Cluster, app: App, revision: Revision) -> Rendered:
        """Return the objects of a revision. Raises StagingError, OSError."""
        # A thread goes on when whoever waits for it is cancelled: the next one would find its layout in use.
        while before := self._making.get(app.name):
            await asyncio.wait((before,))
        making = asyncio.create_task(asyncio.to_thread(self._made, cluster, app, revision))
        self._making[app.name] = making
        making.add_done_callback(lambda done: self._is_made(app.name, done))
        return await asyncio.shield(making)

    def _is_made(self, app: str, done: "asyncio.Task[Rendered]") -> None:
        del self._making[app]
        if not done.cancelled():
            done.exception()  # whoever waits for it is told; if nobody does any more, it is of no interest

    def _made(self, cluster: Cluster, app: App, revision: Revision) -> Rendered:
        rendered = Rendered(app=app, revision=revision.id)
        nowhere = target_of(cluster, f"{cluster.registry}/{app.name}", self.settings.staging_timeout_s)
        try:
            exporting = self._exporting(app, nowhere)
            refused = exported(exporting, by_content=True, with_secrets=True).refusals
            if refused:
                return replace(rendered, refused="; ".join(f"{each.path}: {each.message}" for each in refused))
            image = self._pushed(cluster, app, revision)
            made = exported(
                replace(exporting, target=replace(nowhere, image=image)), by_content=True, with_secrets=True
            )
        except CannotExport as error:
            raise StagingError(str(error)) from error
        notes = tuple(f"{each.path}: {each.message}" for each in made.notes)
        return replace(rendered, objects=made.objects, notes=notes)

    def _exporting(self, app: App, target: Target) -> Exporting:
        document = document_in(self.settings, self.manifests().catalog, app.name, ())
        if app.bindings:
            with contextlib.closing(HostSnapshot(self.settings.paths)) as snapshot:
                values = values_of(app, self.settings, snapshot)
        else:
            values = values_of(app, self.settings, None)
        # With the address of the document, which this host does not listen at.
        there = replace(app, address=document.app.address, routing=document.app.routing)
        return Exporting(app=there, tree=document.tree, target=target, services=document.services, values=values)

    def _pushed(self, cluster: Cluster, app: App, revision: Revision) -> str:
        """Return the image of a revision by its digest, once the registry has it. Raises StagingError, OSError."""
        staged = self.stager.finished(app.name, revision.build.id)
        if staged is None:
            raise StagingError(f"build {revision.build.id} of {app.name} is damaged, and is staged again")
        minor = ".".join(staged.python_version.split(".")[:2])
        base = cluster.bases.get(minor, "")
        if not base:
            known = ", ".join(f"python{each}" for each in sorted(cluster.bases)) or "none"
            remedy = f"name its layout in 'clusters.{cluster.name}.bases', which has {known}"
            raise StagingError(f"there is no base image for Python {minor}: {remedy}")
        directory, _, digest = base.partition("@")
        layout = self.settings.paths.images / app.name
        image = write(ImageRequest(output=layout, base=Path(directory), base_digest=digest), app, revision, staged)
        # Of this installation alone, as another one may have the same image there, which is not ours to delete.
        to = reference_of(f"{cluster.registry}/{app.name}:{revision.id}-{state_id(self.settings.paths.state)}")
        pushed = PushedImage(
            repository=str(to),
            digest=image.digest,
            tag=to.tag,
            revision=revision.id,
            at=time.time(),  # noqa: TID251  compared with the wall time of another process
        )
        login, trust = login_for(to.registry, cluster.registry_auth), trusting(cluster.registry_ca)
        transport = Transport(to.registry, plain=cluster.plain_http, trust=trust, answer_s=_ANSWER_S)
        registry = Registry(transport, (f"repository:{to.repository}:pull,push",), login, told=lambda _: None)
        with locked_layout(layout):
            PushedImages(self.settings.paths.pushed_images, app.name).note(pushed)
            return Push(PushRequest(layout=layout, digest=image.digest, to=to, base=""), registry).to_the_end().name


def cluster_worlds(settings: Settings, stores: Stores, neighbours: Neighbours, objects: Objects) -> list[ClusterWorld]:
    """Return the World of each cluster."""
    installation = state_id(settings.paths.state)
    return [
        ClusterWorld(
            cluster,
            client_of(cluster, manager_of(installation)),
            stores.journal,
            installation=installation,
            directory=settings.paths.clusters / cluster.name,
            neighbours=neighbours,
            render=objects,
        )
        for cluster in settings.clusters.values()
    ]
