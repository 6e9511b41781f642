"""Find the file and the document that describe an app, as they are written now, also where they have mistakes."""

import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import field

from reconciler.documents.problem import Problem
from reconciler.documents.schema_checks import suggestion
from reconciler.documents.text import text_of
from reconciler.documents.tree import Node, trees_of
from reconciler.linux.dataclass import dataclass
from reconciler.manifests.app_document import joined
from reconciler.manifests.checks import variables_of_parts
from reconciler.manifests.origin import Listing, Look, Unreadable, is_directory
from reconciler.manifests.parse_file import apps_of, name_of_file


class NotDescribed(LookupError):
    """No manifest that can be edited describes an app; says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """A file, and the document in it that describes an app: None only if the file is not valid YAML."""

    app: str
    file: str
    content: bytes = field(repr=False)
    text: str = field(repr=False)
    tree: Node | None = field(repr=False)

    def path_of(self, written: str) -> str:
        """Return the absolute path of a file that the document names."""
        return joined(posixpath.dirname(self.file), written)


def described(looks: Sequence[Look], app: str) -> Described:
    """Return the document of an app. Raises NotDescribed, also if its origin is no directory, or if there are two."""
    found = [each for each in _all(looks, app) if each.tree is not None]
    if len({each.file for each in found}) > 1:
        files = " and ".join(each.file for each in found)
        raise NotDescribed(f"several manifests describe an app named '{app}': {files}; leave it to one of them")
    if not found:
        raise NotDescribed(_why_not(looks, app))
    return found[0]


def file_of(looks: Sequence[Look], app: str) -> Described:
    """Return the document of an app, or a file that has its name, whatever is in it. Raises NotDescribed."""
    try:
        return described(looks, app)
    except NotDescribed:
        named = [each for each in _all(looks, app) if name_of_file(each.file) == app]
        if len(named) != 1 or named[0].tree is not None:
            raise
        return named[0]


def users_of(looks: Sequence[Look], path: str) -> Iterator[tuple[str, str]]:
    """Yield the apps that take variables from the file at `path`, and which; "" for a file of many.

    A variable of one process or schedule alone is named with that: `QUEUE_PASSWORD of worker`.
    """
    for _, file, _, text in _texts(looks):
        if posixpath.basename(path) not in text:
            continue
        for app, tree in apps_of(file, trees_of(file, text)[0]).items():
            yield from ((app, name) for name, given in _files(tree) if joined(posixpath.dirname(file), given) == path)


def _files(tree: Node) -> Iterator[tuple[str, str]]:
    env, lists = tree.given("env"), tree.given("env_files")
    for name in env.keys if env else ():
        if (file := tree.given("env", name, "file")) is not None:
            yield name, str(file.value)
    for user, name, part in variables_of_parts(tree):
        if part.keys:
            yield f"{name} of {user}", str(part.parts["file"].value)
    for part in lists.parts.values() if lists else ():
        yield "", str(part.value)


def _all(looks: Sequence[Look], app: str) -> Iterator[Described]:
    """Yield each file that may describe the app, with the document that does. Raises NotDescribed."""
    for origin, file, content, text in _texts(looks):
        is_named = name_of_file(file) == app
        if not (is_named or app in text):
            continue
        tree = apps_of(file, trees_of(file, text)[0]).get(app)
        if tree is None and not is_named:
            continue
        if not is_directory(origin):
            raise NotDescribed(
                f"the manifest of {app} comes from {origin}, not from a directory of this host: change it there"
            )
        yield Described(app=app, file=file, content=content, text=text, tree=tree)


def _texts(looks: Sequence[Look]) -> Iterator[tuple[str, str, bytes, str]]:
    """Yield the origin, path, content and text of each file that can be parsed."""
    for listing in looks:
        for file, content in listing.files.items() if isinstance(listing, Listing) else ():
            if isinstance(content, bytes) and isinstance(text := text_of(file, content), str):
                yield listing.origin, file, content, text


def _why_not(looks: Sequence[Look], app: str) -> str:
    """Return what is wrong with the file of that name, otherwise that there is none, and which was probably meant."""
    names: set[str] = set()
    for look in looks:
        if isinstance(look, Unreadable):
            return look.reason
        for file, content in look.files.items():
            is_named = name_of_file(file) == app
            text = text_of(file, content) if isinstance(content, bytes) else content
            if isinstance(text, Problem) or not isinstance(content, bytes):
                if is_named:
                    return str(text) if isinstance(text, Problem) else f"{file} {text}"
                continue
            trees, problems = trees_of(file, text)
            names.update(apps_of(file, trees))
            if is_named and problems:
                return f"cannot tell what {file} describes: {problems[0]}"
    meant = suggestion(app, frozenset(names))
    where = " and ".join(look.origin for look in looks)
    return f"no manifest in {where} describes an app named '{app}'" + (f"; did you mean '{meant}'?" if meant else "")
