"""Check the clusters of the settings: reachable, which version, what the account may do, and what bounds its pods.

Asks each cluster and its registry, and changes nothing there.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path

from reconciler.cluster.access import rights
from reconciler.cluster.api.client import ApiError, Client, client_of
from reconciler.cluster.api.questions import is_served, items_of, missing_rights, namespace_labels, release_of
from reconciler.cluster.objects import pod_specs
from reconciler.cluster.pod_security import FIRST, LABEL, RESTRICTED, refusals
from reconciler.cluster.quotas import full, outside, unbounded
from reconciler.cluster.targets import target_of
from reconciler.cluster.versions import OLDEST
from reconciler.inspection.checks.check import Check, Level
from reconciler.linux.dataclass import dataclass
from reconciler.planning.apps.app import App
from reconciler.planning.desired_state import DesiredState
from reconciler.planning.services.service import Service
from reconciler.planning.wording import counted, listed
from reconciler.settings.clusters import Cluster
from reconciler.settings.settings import Settings
from reconciler.staging.images.reference import RegistryError, reference_of
from reconciler.staging.images.registry import Patience, Registry
from reconciler.staging.images.registry_login import login_for
from reconciler.staging.images.registry_transport import NotNow, Transport, trusting

_WITHIN_S = 10.0
_ROLE = "have 'reconciler install --cluster {}' applied there"
_MANY = 5
_ANY_IMAGE = f"image@sha256:{'0' * 64}"  # nothing of a pod depends on which one it is


def clusters(settings: Settings, desired: DesiredState) -> Iterator[Check]:
    """Check each cluster of the settings."""
    for cluster in settings.clusters.values():
        apps = [app for app in desired.apps.values() if app.place == cluster.name]
        yield from asyncio.run(_Examined(cluster, apps, desired.services).checks())
        yield _registry(cluster)
        yield from _bases(cluster)


@dataclass(frozen=True, slots=True)
class _Examined:
    cluster: Cluster
    apps: list[App]
    services: Mapping[str, Service]

    async def checks(self) -> list[Check]:
        """Return what is found by asking the API server; the first thing alone if that does not answer."""
        client = client_of(self.cluster, "reconciler", sleep=_no_pause)
        found: list[Check] = []
        parts: tuple[Callable[[Client], Awaitable[Check]], ...] = (
            self._version, self._rights, self._quotas, self._ranges, self._pod_security, self._route,
        )  # fmt: skip
        try:
            for part in parts:
                try:
                    async with asyncio.timeout(_WITHIN_S):
                        found.append(await part(client))
                except (ApiError, TimeoutError) as error:
                    found.append(self._failed(error))
                    if len(found) == 1:
                        break
        finally:
            client.close()
        return found

    def _failed(self, error: Exception) -> Check:
        status = error.status if isinstance(error, ApiError) else 0
        advice = {
            0: f"see {self.cluster.kubeconfig}: its server, its authority, and whether this host reaches it",
            401: f"the token or certificate in {self.cluster.kubeconfig} is not valid any more: make a new one",
            403: _ROLE.format(self.cluster.namespace),
        }.get(status, "what serves there serves on; what is to change waits until it answers")
        return self._check("fail", str(error) or f"no answer within {_WITHIN_S:g} s", advice)

    async def _version(self, client: Client) -> Check:
        release = await release_of(client)
        if _is_older(release, tuple(map(int, OLDEST.split(".")))):
            text = f"Kubernetes {release}, older than {OLDEST}, the oldest that is supported"
            return self._check("warn", text, "upgrade it: what it lacks is told where an app needs it")
        return self._check("ok", f"Kubernetes {release} answers")

    async def _rights(self, client: Client) -> Check:
        missing = await missing_rights(client, sorted(rights()))
        if not missing:
            return self._check("ok", f"the account may do what is needed in namespace {self.cluster.namespace}")
        shown = listed([str(each) for each in missing[:_MANY]])
        more = f" and {len(missing) - _MANY} more" if len(missing) > _MANY else ""
        text = f"the account may not {shown}{more} in namespace {self.cluster.namespace}"
        return self._check("fail", text, _ROLE.format(self.cluster.namespace))

    async def _quotas(self, client: Client) -> Check:
        quotas, ranges = await items_of(client, "resourcequotas"), await items_of(client, "limitranges")
        if used := full(quotas):
            text = f"nothing more fits: {listed(used)}"
            return self._check("fail", text, "have the ResourceQuota raised, or remove apps from the namespace")
        if told := unbounded(quotas, ranges, self.apps):
            name, apps = next(iter(told.items()))
            text = f"a ResourceQuota asks each pod for {name}, which {listed(apps)} {_do(apps)} not say"
            return self._check("fail", text, f"set 'limits.{name.rpartition('.')[2]}' in the manifest")
        room = f"{counted(len(quotas), 'ResourceQuota')}, with room for more" if quotas else "no ResourceQuota"
        return self._check("ok", room)

    async def _ranges(self, client: Client) -> Check:
        if told := outside(await items_of(client, "limitranges"), self.apps):
            return self._check("fail", told[0], "change 'limits' in the manifest, or have the LimitRange changed")
        return self._check("ok", "no LimitRange refuses its pods")

    async def _pod_security(self, client: Client) -> Check:
        release, namespace = await release_of(client), self.cluster.namespace
        if _is_older(release, FIRST):
            return self._check("ok", f"Kubernetes {release} has no Pod Security that could refuse its pods")
        level = (await namespace_labels(client)).get(LABEL, "")
        target = target_of(self.cluster, _ANY_IMAGE, 1.0)
        pods = ((app.name, spec) for app in self.apps for spec in pod_specs(app, target, self.services))
        if told := next(refusals(level or RESTRICTED, pods), ""):
            advice = f"have the label {LABEL} of namespace {namespace} changed to a level that admits them"
            return self._check("fail" if level else "warn", told, advice)
        if not level:
            return self._check("ok", f"namespace {namespace} sets no level of Pod Security; any admits its pods")
        return self._check("ok", f"Pod Security {level} of namespace {namespace} admits its pods")

    async def _route(self, client: Client) -> Check:
        if self.cluster.gateway and not await is_served(client, "HTTPRoute"):
            advice = f"install the Gateway API, or name 'clusters.{self.cluster.name}.route.ingress_class' instead"
            return self._check("fail", "'route.gateway' is set, and the cluster has no HTTPRoute", advice)
        domains = [app.name for app in self.apps if app.routing is not None]
        if domains and not (self.cluster.gateway or self.cluster.ingress_class or self.cluster.entry == "service"):
            text = f"no route leads to the domains of {listed(domains)}"
            return self._check("warn", text, f"set 'clusters.{self.cluster.name}.route', or make one")
        route = (
            self.cluster.gateway or self.cluster.ingress_class or "the proxy of this host" * bool(self.cluster.entry)
        )
        return self._check("ok", f"domains are reached by {route}" if route else "no app of it has domains")

    def _check(self, level: Level, found: str, advice: str = "") -> Check:
        return Check(level=level, subject=f"cluster {self.cluster.name}", found=found, advice=advice)


def _is_older(release: str, than: tuple[int, ...]) -> bool:
    """Return whether a cluster is of an older version; False where it says none that is known."""
    number = re.match(r"v(\d+)\.(\d+)", release)
    return number is not None and (int(number[1]), int(number[2])) < than


def _do(apps: list[str]) -> str:
    return "does" if len(apps) == 1 else "do"


async def _no_pause(_: float) -> None:
    """Ask at once what a busy server would rather be asked later."""


def _registry(cluster: Cluster) -> Check:
    """Return whether the registry answers, and takes the login."""
    subject = f"cluster {cluster.name}"
    to = reference_of(f"{cluster.registry}/doctor:none")
    try:
        login, trust = login_for(to.registry, cluster.registry_auth), trusting(cluster.registry_ca)
        transport = Transport(to.registry, plain=cluster.plain_http, trust=trust, answer_s=_WITHIN_S)
        registry = Registry(transport, (f"repository:{to.repository}:pull,push",), login, patience=Patience(attempts=1))
        answer = registry.ask("HEAD", registry.url(f"{to.repository}/manifests/none"))
    except (RegistryError, NotNow, OSError) as error:
        advice = f"see 'clusters.{cluster.name}.registry', 'registry_auth' and 'registry_ca'; no image gets there"
        return Check(level="fail", subject=subject, found=f"its registry: {error}", advice=advice)
    if answer.status not in {200, 404}:  # of an image that need not be there
        found = f"its registry {to.registry} answers {answer.status} to a question for an image"
        return Check(level="fail", subject=subject, found=found, advice="is it a registry? name another in 'registry'")
    return Check(level="ok", subject=subject, found=f"its registry {to.registry} answers")


def _bases(cluster: Cluster) -> Iterator[Check]:
    """Yield the base images that are not there."""
    subject, name = f"cluster {cluster.name}", cluster.name
    if not cluster.bases:
        advice = f"name the layout of one for each Python of its apps in 'clusters.{name}.bases'"
        yield Check(level="warn", subject=subject, found="it has no base image, and so no app", advice=advice)
    for python, layout in sorted(cluster.bases.items()):
        if not (Path(layout.partition("@")[0]) / "index.json").is_file():
            found = f"the base image of python{python}, {layout}, is no OCI layout"
            advice = f"write one there: skopeo copy docker://docker.io/library/python:{python}-slim oci:{layout}"
            yield Check(level="fail", subject=subject, found=found, advice=advice)
