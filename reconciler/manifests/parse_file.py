"""Parse one manifest file into the apps and services it defines, or into everything that is wrong with it.

Pure: nothing is opened, and what the documents name need not exist. A file with a problem defines nothing.
"""

import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import replace

from reconciler.documents.names import is_name, name_from
from reconciler.documents.problem import Problem, dotted, first_problems, proposal
from reconciler.documents.schema_checks import problems_of, shown
from reconciler.documents.text import text_of
from reconciler.documents.tree import Node, trees_of
from reconciler.linux.dataclass import dataclass
from reconciler.manifests.app_document import AppDocument, HostDefaults, document_of, joined
from reconciler.manifests.checks import app_problems, service_problems
from reconciler.manifests.gunicorn_settings import owned_settings
from reconciler.manifests.isolation_fields import problems_of_isolation
from reconciler.manifests.service_document import ServiceDocument, service_of
from reconciler.planning.apps.app import HERE
from reconciler.planning.subject import Subject

_MOST_DOCUMENTS = 1000
_REMOVE = "delete the file to remove the app"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """The apps and services of a file; none when there are problems, but `subjects` are those refused, too."""

    subjects: tuple[Subject, ...] = ()
    apps: tuple[AppDocument, ...] = ()
    services: tuple[ServiceDocument, ...] = ()
    problems: tuple[Problem, ...] = ()


def parse(file: str, content: bytes, host: HostDefaults) -> Parsed:
    """Parse the `content` of `file`, to whose directory its relative paths are relative."""
    text = text_of(file, content, remedy=_REMOVE)
    if isinstance(text, Problem):
        return Parsed(problems=(text,))
    trees, problems = trees_of(file, text)
    if not trees and not problems:
        problems = [_problem(file, None, "", f"holds only comments; {_REMOVE}")]
    if len(trees) > _MOST_DOCUMENTS:
        too_many = f"holds {len(trees)} documents; the limit is {_MOST_DOCUMENTS}: divide them among several files"
        return Parsed(problems=(_problem(file, None, "", too_many),))
    default_name = _default_name(file, trees)
    for tree in trees:
        problems += _document_problems(file, tree, default_name, host)
    subjects = tuple(_subjects(trees, default_name))
    if problems:
        return Parsed(subjects=subjects, problems=first_problems(file, problems))
    return Parsed(
        subjects=subjects,
        apps=tuple(document_of(file, t, _name(t, default_name), host) for t in trees if not _is_service(t)),
        services=tuple(
            service_of(file, t, _name(t, default_name), host.directory_of(file)) for t in trees if _is_service(t)
        ),
    )


def apps_of(file: str, trees: Sequence[Node]) -> dict[str, Node]:
    """Return the documents of a file that describe apps, by the apps' names, whether or not there are problems."""
    default_name = _default_name(file, trees)
    mappings = [tree for tree in trees if isinstance(tree.value, dict) and not _is_service(tree)]
    named = [(_name(tree, default_name), tree) for tree in mappings if default_name or "name" in tree.keys]
    return dict(reversed(named))


def name_of_file(file: str) -> str:
    """Return the name that a file gives to the app or service in it, if it holds one document without a name."""
    return posixpath.basename(file).rpartition(".")[0]


def _default_name(file: str, trees: Sequence[Node]) -> str | None:
    return name_of_file(file) if len(trees) == 1 else None


def _subjects(trees: Sequence[Node], default_name: str | None) -> Iterator[Subject]:
    for tree in trees:
        if isinstance(tree.value, dict) and is_name(name := _name(tree, default_name)):
            yield Subject("service" if _is_service(tree) else "app", name)


def _is_service(tree: Node) -> bool:
    return isinstance(tree.value, dict) and tree.value.get("kind") == "service"


def _document_problems(file: str, tree: Node, default_name: str | None, host: HostDefaults) -> list[Problem]:
    if not isinstance(tree.value, dict):
        expected = f"expected fields such as 'path: ../apps/blog', not {shown(tree.value)}"
        return [_problem(file, tree, "", expected)]
    problems = problems_of(file, "service" if _is_service(tree) else "app", tree)
    beyond = [
        *([] if _is_service(tree) else owned_settings(file, tree)),
        *_source_problems(file, tree, host),
        *_static_problems(file, tree, host),
        *(service_problems(file, tree) if _is_service(tree) else app_problems(file, tree, _name(tree, default_name))),
        *_limit_problems(file, tree, host),
        *_worker_problems(file, tree),
        *_canary_problems(file, tree),
        *_place_problems(file, tree, host),
        *_instance_problems(file, tree, host),
        *_isolation_problems(file, tree, host),
        *_name_problems(file, tree, default_name),
    ]
    # One problem a place: the schema's, which says what was expected, comes first.
    said = {problem.path for problem in problems if problem.path != "name"}
    named = [problem for problem in beyond if problem.path == "name"]
    problems = [problem for problem in problems if problem.path != "name" or not named]
    return problems + [problem for problem in beyond if problem.path not in said]


def _source_problems(file: str, tree: Node, host: HostDefaults) -> Iterator[Problem]:
    if _is_service(tree) or "source" not in tree.keys:
        return
    from reconciler.manifests.git_source_checks import source_problems  # most hosts have no repository

    yield from source_problems(file, tree, host.repositories)


def _place_problems(file: str, tree: Node, host: HostDefaults) -> Iterator[Problem]:
    if _is_service(tree) or "place" not in tree.keys:
        return
    from reconciler.manifests.place_checks import place_problems  # most apps run here

    yield from place_problems(file, tree, host.clusters)


def _instance_problems(file: str, tree: Node, host: HostDefaults) -> Iterator[Problem]:
    if _is_service(tree) or "instances" not in tree.keys:
        return
    from reconciler.manifests.instance_fields import problems_of_instances  # most apps run here

    place = tree.given("place")
    is_placed = host.clusters is None or (place is not None and place.value != HERE)
    for path, message in problems_of_instances(tree, is_placed=is_placed):
        yield _problem(file, tree.given(*map(str, path)) or tree, dotted(path), message)


def _static_problems(file: str, tree: Node, host: HostDefaults) -> Iterator[Problem]:
    if host.no_static and not _is_service(tree) and "static" in tree.keys:
        yield _problem(file, tree.parts["static"], "static", host.no_static)


def _canary_problems(file: str, tree: Node) -> Iterator[Problem]:
    if _is_service(tree) or "canary" not in tree.keys:
        return
    from reconciler.manifests.canary_fields import problems_of_canary  # most apps have none

    for path, message in problems_of_canary(tree):
        yield _problem(file, tree.given(*map(str, path)) or tree, dotted(path), message)


def _limit_problems(file: str, tree: Node, host: HostDefaults) -> Iterator[Problem]:
    if _is_service(tree) or not {"limits", "processes"} & tree.keys.keys():
        return
    from reconciler.manifests.limit_fields import problems_of_limits  # most apps have none

    for path, message in problems_of_limits(tree, host.limits):
        node = tree.at(path)
        yield Problem(file=file, line=node.line, column=node.column, path=dotted(path), message=message)


def _worker_problems(file: str, tree: Node) -> Iterator[Problem]:
    if _is_service(tree) or not isinstance(tree.value, dict) or not isinstance(tree.value.get("workers"), dict):
        return
    from reconciler.manifests.worker_fields import problems_of_workers  # most apps have a number

    for path, message in problems_of_workers(tree):
        node = tree.at(path)
        yield Problem(file=file, line=node.line, column=node.column, path=dotted(path), message=message)


def _isolation_problems(file: str, tree: Node, host: HostDefaults) -> Iterator[Problem]:
    if _is_service(tree) or not {"isolation", "mounts", "network"} & tree.keys.keys():
        return
    directory = host.directory_of(file)
    for path, message in problems_of_isolation(tree, host.isolation, lambda each: joined(directory, each)):
        node = tree.at(path)
        yield Problem(file=file, line=node.line, column=node.column, path=dotted(path), message=message)


def _name_problems(file: str, tree: Node, default_name: str | None) -> list[Problem]:
    given = tree.keys.get("name")
    name = tree.parts["name"].value if given else default_name
    if name is None and not given:
        return [_problem(file, tree, "name", "is required in a file of several documents")]
    if not isinstance(name, str) or is_name(name):
        return []
    expected = "expected at most 63 lower-case letters, digits and inner hyphens"
    proposed = name_from(name)
    hint = proposal(proposed) if proposed else ""
    found = _problem(file, tree, "name", f"the file's name cannot be the app's name ({expected}); add 'name'{hint}")
    if given:
        found = _problem(file, tree.parts["name"], "name", f"{expected}, not {shown(name)}{hint}")
    return [replace(found, proposed=proposed)]


def _name(tree: Node, default_name: str | None) -> str:
    return tree.written_at("name") if "name" in tree.keys else str(default_name)


def _problem(file: str, node: Node | None, path: str, message: str) -> Problem:
    line, column = (node.line, node.column) if node else (1, 1)
    return Problem(file=file, line=line, column=column, path=path, message=message)
