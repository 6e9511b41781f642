"""Read what exporting apps takes: their documents and, where they are to be known, their secrets. Changes nothing."""

from collections.abc import Collection, Mapping
from dataclasses import field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.cluster.findings import given_fields
from reconciler.cluster.target import Values
from reconciler.documents.in_place import CannotEdit, without_field
from reconciler.documents.problem import Problem, dotted
from reconciler.documents.text import text_of
from reconciler.documents.tree import Node, trees_of
from reconciler.host.manifest_rules import rules_of
from reconciler.inspection.manifests import checked
from reconciler.linux.dataclass import dataclass
from reconciler.manifests.app_document import AppDocument
from reconciler.manifests.parse_file import apps_of, parse
from reconciler.planning.address import Address
from reconciler.planning.apps.app import App
from reconciler.planning.services.service import Service
from reconciler.settings.settings import Settings

if TYPE_CHECKING:  # most exports hold no secret
    from reconciler.inspection.snapshot import HostSnapshot
    from reconciler.manifests.catalog import Catalog
    from reconciler.services.binding_views import BindingViews


class CannotExport(Exception):
    """Why an app cannot be exported; `problems` are the mistakes of its manifest."""

    def __init__(self, message: str, problems: tuple[Problem, ...] = ()) -> None:
        super().__init__(message)
        self.problems = problems


@dataclass(frozen=True, slots=True, kw_only=True)
class Documents:
    """The document of an app as it is written, and the app that it defines without the fields that are left out.

    The app's address has the port of the document, if any: none of this host is leased for it.
    """

    app: App
    tree: Node
    services: Mapping[str, Service] = field(default_factory=dict)


def described(settings: Settings) -> list[str]:
    """Return the names of the apps that the manifests describe, also of those whose manifests have errors."""
    files = checked(settings, anywhere=True).files.values()
    return sorted({subject.name for entry in files for subject in entry.subjects if subject.kind == "app"})


def documents(settings: Settings, names: Collection[str], without: Collection[str]) -> dict[str, Documents]:
    """Return the documents of apps. Raises CannotExport."""
    catalog = checked(settings, anywhere=True)
    found = {name: document_in(settings, catalog, name, without) for name in names}
    unset = [each for each in without if not any(_is_set(document.tree, each) for document in found.values())]
    if unset:
        raise CannotExport(f"no manifest sets {', '.join(unset)}, to be left out")
    return found


def document_in(settings: Settings, catalog: "Catalog", name: str, without: Collection[str]) -> Documents:
    """Return the document of an app in a catalog. Raises CannotExport."""
    for file, entry in catalog.files.items():
        if not any(subject.kind == "app" and subject.name == name for subject in entry.subjects):
            continue
        text = text_of(file, entry.content) if isinstance(entry.content, bytes) else None
        if entry.problems or not isinstance(text, str):
            raise CannotExport(f"the manifest of {name} has errors", entry.problems)
        tree = apps_of(file, trees_of(file, text)[0])[name]
        app = app_in(_fewer(settings, file, text, tree, name, without))
        return Documents(app=app, tree=tree, services=catalog.services)
    raise CannotExport(catalog.notice or f"no manifest in {settings.manifests} describes an app named '{name}'")


def _fewer(  # noqa: PLR0913, PLR0917  one document, and what is left out of it
    settings: Settings, file: str, text: str, tree: Node, name: str, without: Collection[str]
) -> AppDocument:
    """Return the document without some fields. Raises CannotExport if it makes no sense then."""
    for path in without:
        if _is_set(tree, path):
            try:
                line = apps_of(file, trees_of(file, text)[0])[name].line
                text = without_field(text, line, path.split("."))
            except CannotEdit as error:
                raise CannotExport(f"cannot leave out {path} of {name}: {error}") from error
    # Where it runs was judged with its catalog.
    parsed = parse(file, text.encode(), replace(rules_of(settings).host, clusters=None))
    if parsed.problems:
        raise CannotExport(f"the manifest of {name} has errors without {', '.join(without)}", parsed.problems)
    return next(each for each in parsed.apps if each.name == name)


def _is_set(tree: Node, path: str) -> bool:
    """Return whether a document has a field; parts of the items of lists are not left out by themselves."""
    return any(dotted(place) == path and "[" not in path for _, place, _ in given_fields(tree))


def app_in(document: AppDocument) -> App:
    """Return the app without what this host would add: a port, a socket, and a domain where the document has none."""
    app = document.unleased
    if "domains" not in document.places:
        app = replace(app, routing=None)
    port = document.port or document.port_there
    return app if port is None else app.listening_at(Address(host=document.host, port=port))


def values_of(app: App, settings: Settings, snapshot: "HostSnapshot | None") -> Values:
    """Return the secrets of an app; a snapshot has the credentials of its services. Raises CannotExport."""
    from reconciler.vault.dotenv import Unusable
    from reconciler.vault.secret_reader import SecretReader

    reader = SecretReader(settings)
    try:
        lists: dict[str, str] = {}
        for path in app.env_lists:
            lists |= reader.variables_of(Path(path))
        parts = {
            f"{kind}.{part.name}": {name: reader.value_of(Path(path)) for name, path in part.env_files.items()}
            for kind, found in (("processes", app.processes), ("schedules", app.schedules))
            for part in found
        }
        certificate = app.routing.certificate if app.routing is not None else None
        tls = ("", "")
        if certificate is not None:
            tls = reader.text_of(Path(certificate.chain)), reader.text_of(Path(certificate.key))
        env = {name: reader.value_of(Path(path)) for name, path in app.env_files.items()}
    except Unusable as error:
        raise CannotExport(f"cannot export the secrets of {app.name}: {error}") from error
    values = Values(env=env, env_lists=lists, parts=parts, tls=tls)
    if not app.bindings:
        return values
    views = _views(app, settings, snapshot)
    return replace(values, vcap=views.whole, database_url=views.database_url, files=views.files)


def _views(app: App, settings: Settings, snapshot: "HostSnapshot | None") -> "BindingViews":
    import sqlite3

    from reconciler.inspection.manifests import desired
    from reconciler.services.binding_views import OpenBinding, shown
    from reconciler.vault.vault import VaultLocked

    assert snapshot is not None
    catalog = desired(settings, snapshot)
    inputs = snapshot.service_observer(settings, catalog.services, catalog.apps).inputs(app, app.name)
    if len(inputs.bound) < len(app.bindings):
        raise CannotExport(f"cannot export the secrets of {app.name}: {'; '.join(inputs.missing)}")
    records = snapshot.service_records
    try:
        return shown(OpenBinding(bound=b, credentials=records.credentials(b.credentials)) for b in inputs.bound)
    except (VaultLocked, sqlite3.Error) as error:
        raise CannotExport(f"cannot read the secrets of {app.name}: {error}") from error
