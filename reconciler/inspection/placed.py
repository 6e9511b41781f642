"""Say what keeps apps out of the clusters that their manifests place them in, as an export would. Asks no cluster."""

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from reconciler.cluster.findings import Exporting
from reconciler.cluster.objects import claimed_twice, exported
from reconciler.cluster.pods import Object
from reconciler.cluster.target import Target
from reconciler.cluster.targets import target_of
from reconciler.documents.problem import Problem
from reconciler.documents.text import text_of
from reconciler.documents.tree import Node, trees_of
from reconciler.host.manifest_rules import rules_of
from reconciler.inspection.exports import Documents, app_in
from reconciler.manifests.catalog import Catalog
from reconciler.manifests.manifest_file import ManifestFile
from reconciler.manifests.parse_file import apps_of, parse
from reconciler.planning.apps.app import HERE, App
from reconciler.settings.settings import Settings

# Nothing of an app depends on which image it is.
_ANY_IMAGE = f"image@sha256:{'0' * 64}"


class _Claim(NamedTuple):
    """The objects that an app would have."""

    app: App
    tree: Node
    objects: tuple[Object, ...]


def placed_problems(settings: Settings, catalog: Catalog) -> Iterator[Problem]:
    """Yield what a cluster would refuse of the manifests as they are now, with its place in them.

    Of a cluster that the settings do not know, yields what every cluster would refuse.
    """
    claims: dict[str, dict[str, _Claim]] = {}
    for entry in catalog.files.values():
        for found in _placed(settings, entry):
            place = found.app.place
            cluster = settings.clusters.get(place)
            target = Target(image=_ANY_IMAGE, cluster=place)
            if cluster is not None:
                target = target_of(cluster, _ANY_IMAGE, settings.staging_timeout_s)
            exporting = Exporting(app=found.app, tree=found.tree, target=target, services=catalog.services)
            made = exported(exporting, by_content=False, with_secrets=True)
            yield from made.refusals
            if not made.refusals:
                claims.setdefault(place, {})[found.app.name] = _Claim(found.app, found.tree, made.objects)
    for apps in claims.values():
        yield from _claimed_twice(apps)


def _placed(settings: Settings, entry: ManifestFile) -> Iterator[Documents]:
    """Yield the documents of a file that place their apps in a cluster, also in one that this host does not know."""
    unknown = any(problem.path == "place" for problem in entry.problems)
    if not isinstance(entry.content, bytes) or not (unknown or any(each.is_elsewhere for each in entry.parsed.apps)):
        return
    text = text_of(entry.file, entry.content)
    if not isinstance(text, str):
        return
    trees = apps_of(entry.file, trees_of(entry.file, text)[0])
    parsed = parse(entry.file, entry.content, replace(rules_of(settings).host, clusters=None))
    for document in parsed.apps:
        if document.unleased.place != HERE:
            yield Documents(app=app_in(document), tree=trees[document.name])


def _claimed_twice(apps: dict[str, _Claim]) -> Iterator[Problem]:
    """Yield the apps that would have an object of another one."""
    for name, message in claimed_twice({name: claim.objects for name, claim in sorted(apps.items())}):
        app, tree, _ = apps[name]
        yield Problem(file=app.manifest, line=tree.line, column=tree.column, path="name", message=message)
