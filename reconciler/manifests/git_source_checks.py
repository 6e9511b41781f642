"""Check the `source` of an app's document beyond its schema: what it follows, and whether the repository is known."""

from collections.abc import Iterator, Mapping

from reconciler.documents.problem import Path, Problem, dotted
from reconciler.documents.schema_checks import suggestion
from reconciler.documents.tree import Node
from reconciler.settings.git import Repository

_FOLLOWED = ("branch", "tag", "commit")


def source_problems(file: str, tree: Node, repositories: Mapping[str, Repository] | None) -> Iterator[Problem]:
    """Yield what is wrong with the source in a repository, if the document has one; None if none is known."""
    node = tree.given("source")
    if node is None or not isinstance(node.value, dict):
        return
    for path, message in _problems(tree, node, repositories):
        place = tree.at(path)
        yield Problem(file=file, line=place.line, column=place.column, path=dotted(path), message=message)


def _problems(tree: Node, node: Node, repositories: Mapping[str, Repository] | None) -> Iterator[tuple[Path, str]]:
    given = [each for each in _FOLLOWED if each in node.keys]
    if len(given) != 1:
        found = f"not {' and '.join(given)}" if given else "and has none"
        yield ("source",), f"requires one of 'branch', 'tag' and 'commit', {found}"
    elif "signed" in node.keys and given != ["tag"]:
        yield ("source", "signed"), "is for 'tag' only: the settings of the repository say which commits must be signed"
    if "watch" in tree.keys:
        yield ("watch",), "is for 'path' only: a source in a repository changes with its commit"
    if repositories is not None and "repository" in node.keys:
        yield from _problems_of_repository(str(node.written_at("repository")), node, given, repositories)


def _problems_of_repository(
    name: str, node: Node, given: list[str], repositories: Mapping[str, Repository]
) -> Iterator[tuple[Path, str]]:
    repository = repositories.get(name)
    if repository is None:
        close = suggestion(name, frozenset(repositories))
        known = ", ".join(sorted(repositories)) or "none"
        hint = f"did you mean '{close}'?" if close else f"'git.repositories' of the host's settings has {known}"
        yield ("source", "repository"), f"no repository is named '{name}'; {hint}"
    elif repository.signed == "tag" and given and given != ["tag"]:
        yield ("source",), f"requires 'tag', as the repository '{name}' has 'signed: tag'"
    elif "signed" in node.keys and given == ["tag"] and repository.signers is None and repository.openpgp is None:
        yield ("source", "signed"), f"requires 'signers' of the repository '{name}', the file of the keys that may sign"
