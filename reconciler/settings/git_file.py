"""Parse `git` and `origins` of a settings file, already checked by its schema, into origins or problems."""

import posixpath
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from reconciler.documents.problem import Problem, dotted
from reconciler.documents.schema_checks import suggestion
from reconciler.documents.tree import Node
from reconciler.documents.units import duration_s, size_bytes
from reconciler.settings.git import GitOrigin, Repository
from reconciler.settings.git_statuses import Statuses, api_of, problem_of_api, project_of, server_of
from reconciler.settings.git_url import problem_of_url, uses_https, uses_ssh

FOLLOWED = ("branch", "tags", "commit")
_FILES = ("key", "known_hosts", "token", "signers", "openpgp")
_REPORT_FILES = ("sign", "key", "token")
_DURATIONS = {"every": "every_s", "timeout": "timeout_s", "stale_after": "stale_after_s"}
_SIZES = {"size": "largest_store", "file_size": "largest_file"}


def git_of(file: str, tree: Node) -> tuple[dict[str, Any], list[Problem]]:
    """Return the fields of `Settings` that a valid file gives, and the problems that a schema cannot express."""
    problems = [*_problems(file, tree)]
    if problems:
        return {}, problems
    host = this_host(tree)
    repositories, node = tree.given("git", "repositories"), tree.given("origins")
    found = _repositories(file, repositories) if repositories else {}
    origins = tuple(_origin(str(name), part, found, host) for name, part in node.parts.items()) if node else ()
    given: dict[str, Any] = {"repositories": found, "git_host": host} if found else {}
    return (given | {"origins": origins} if origins else given), []


def this_host(tree: Node) -> str:
    """Return the name of this host in `{host}`: as the file has it, otherwise the host's own, without its domain."""
    given = tree.given("git", "host")
    return str(given.written) if given is not None else socket.gethostname().partition(".")[0]


def _repositories(file: str, node: Node) -> dict[str, Repository]:
    found = {str(name): _repository(file, str(name), part) for name, part in node.parts.items()}
    named = {name: _reports_to(node.parts[name]) for name in found}
    return {name: replace(each, report_to=found[named[name]]) if named[name] else each for name, each in found.items()}


def _reports_to(repository: Node) -> str:
    """Return the name of the repository that holds the reports about another one, "" if that does so itself."""
    given = repository.given("report", "to")
    return str(given.written) if given is not None else ""


def _repository(file: str, name: str, node: Node) -> Repository:
    given: dict[str, Any] = node.value  # type: ignore[assignment]  # the schema has seen to it
    read: dict[str, Any] = {key: _path(file, given[key]["file"]) for key in _FILES if key in given}
    read |= {field: duration_s(node.written_at(key)) for key, field in _DURATIONS.items() if key in given}
    read |= {field: size_bytes(node.written_at(key)) for key, field in _SIZES.items() if key in given}
    read |= {key: node.written_at(key) for key in ("user", "first", "signed") if key in given}
    if "ca" in given:
        read["ca"] = _path(file, given["ca"])
    if "client" in given:
        read["client_certificate"] = _path(file, given["client"]["certificate"])
        read["client_key"] = _path(file, given["client"]["key"]["file"])
    if "webhook" in given:
        read["webhook"] = _path(file, given["webhook"]["secret"]["file"])
    if "statuses" in given:
        read["statuses"] = _statuses(file, given["url"], given["statuses"])
    if "scopes" in given:
        read["scopes"] = given["scopes"]
    if "urgent" in given:
        read["urgent"] = tuple(given["urgent"])
    if "files" in given:
        read["most_files"] = given["files"]
    report = given.get("report", {})
    read |= {f"report_{key}": _path(file, report[key]["file"]) for key in _REPORT_FILES if key in report}
    if "refs" in report:
        read["report_refs"] = report["refs"]
    return Repository(
        name=name, urls=(given["url"], *given.get("mirrors", ())), fsck=tuple(given.get("fsck", ())), **read
    )


def _statuses(file: str, url: str, given: Mapping[str, Any]) -> Statuses:
    forge, project = given["forge"], project_of(given.get("project"), url)
    api = api_of(forge, given.get("api"), url)
    web = f"https://{server_of(api if url.startswith('/') else url)}/{quote(project)}"
    return Statuses(forge=forge, api=api, project=project, token=_path(file, given["token"]["file"]), web=web)


def _origin(name: str, node: Node, repositories: Mapping[str, Repository], host: str) -> GitOrigin:
    given: dict[str, Any] = node.value  # type: ignore[assignment]  # the same
    path = given.get("path", [""])
    templates = (path,) if isinstance(path, str) else tuple(path)
    return GitOrigin(
        name=name,
        repository=repositories[given["repository"]],
        host=host,
        **_followed(node, host),
        paths=_paths(templates, host),
        templates=templates,
        trial=_filled(given.get("trial", ""), host),
        whole=given.get("whole", True),
        returns=given.get("returns", True),
        may=given.get("may", {}),
    )


def at_host(origin: GitOrigin, host: str, templates: Sequence[str] = ()) -> GitOrigin:
    """Return an origin as another host has it; `templates` take the place of the paths that it has."""
    templates = tuple(templates) or origin.templates
    return replace(origin, host=host, paths=_paths(templates, host), templates=templates)


def _paths(templates: Iterable[str], host: str) -> tuple[str, ...]:
    return tuple(_normal(_filled(each, host)) for each in templates)


def _followed(node: Node, host: str) -> dict[str, Any]:
    return {each: _filled(node.written_at(each), host) for each in FOLLOWED if each in node.keys}


def _filled(text: str, host: str) -> str:
    return text.replace("{host}", host)


def _normal(path: str) -> str:
    normal = posixpath.normpath(path)
    return "" if normal == "." else normal


def _problems(file: str, tree: Node) -> Iterator[Problem]:
    repositories, origins = tree.given("git", "repositories"), tree.given("origins")
    has_address = tree.given("api", "address") is not None
    for name, part in repositories.parts.items() if repositories else ():
        for at, message in _problems_of_repository(part, has_address=has_address):
            yield _problem(file, part.at(at), ("git", "repositories", name, *at), message)
    known = frozenset(map(str, repositories.parts)) if repositories else frozenset()
    for name, part in repositories.parts.items() if repositories else ():
        if message := _problem_of_place(str(name), _reports_to(part), known):
            at = ("report", "to")
            yield _problem(file, part.at(at), ("git", "repositories", name, *at), message)
    for name, part in origins.parts.items() if origins else ():
        if message := _problem_of_followed(part, repositories):
            yield _problem(file, part, ("origins", name), message)
        if message := _unknown(part.written_at("repository"), known):
            yield _problem(file, part.at(("repository",)), ("origins", name, "repository"), message)


def _problem_of_place(name: str, to: str, known: frozenset[str]) -> str:
    """Return what is wrong with the repository that the reports about another one are to be in, "" if nothing is."""
    if to == name:
        return "is this very repository: leave 'to' out"
    return _unknown(to, known) if to else ""


def _unknown(repository: str, known: frozenset[str]) -> str:
    """Return that there is no such repository, "" if there is."""
    if repository in known:
        return ""
    close = suggestion(repository, known)
    hint = f"did you mean '{close}'?" if close else f"'git.repositories' has {', '.join(sorted(known)) or 'none'}"
    return f"no repository is named '{repository}'; {hint}"


def _problem_of_followed(origin: Node, repositories: Node | None) -> str:
    """Return what is wrong with what an origin follows, "" if nothing is."""
    given = [each for each in FOLLOWED if each in origin.keys]
    if len(given) != 1:
        found = f"not {' and '.join(given)}" if given else "and has none"
        return f"requires one of 'branch', 'tags' and 'commit', {found}"
    name = origin.written_at("repository")
    repository = repositories.parts.get(name) if repositories is not None else None
    signed = repository.given("signed") if repository is not None else None
    if signed is not None and signed.value == "tag" and given != ["tags"]:
        return f"requires 'tags', as the repository '{name}' has 'signed: tag'"
    if "trial" in origin.keys and given == ["commit"]:
        return "has 'trial', which is for 'branch' and 'tags'"
    if "trial" in origin.keys and origin.written_at("trial") == origin.written_at("branch"):
        return "has the same branch as 'branch' and 'trial'"
    if "trial" in origin.keys and signed is not None and signed.value == "tag":
        return f"has 'trial', a branch, but the repository '{name}' has 'signed: tag'"
    return ""


def _problems_of_repository(node: Node, *, has_address: bool) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yield the place and the message of each problem; `has_address` says whether the API has one."""
    given: dict[str, Any] = node.value  # type: ignore[assignment]  # the same
    urls: list[tuple[tuple[str | int, ...], str]] = [(("url",), given["url"])]
    urls += [(("mirrors", index), url) for index, url in enumerate(given.get("mirrors", ()))]
    for at, url in urls:
        if message := problem_of_url(url):
            yield at, message
    for needed, why in (
        ("known_hosts", "the keys of its hosts are pinned, none is learnt"),
        ("key", "the key to log in with"),
    ):
        if any(uses_ssh(url) for _, url in urls) and needed not in given:
            yield ("url",), f"requires '{needed}' for ssh: {why}"
    for each in ("token", "client"):
        if each in given and not any(uses_https(url) for _, url in urls):
            yield (each,), "is for https:// only"
    yield from _problems_of_signatures(given)
    if given.get("every") is not None and duration_s(node.written_at("every")) < 1:
        yield ("every",), "must be at least 1s"
    yield from _problems_of_statuses(given["url"], given.get("statuses"))
    yield from _problems_of_report(given.get("report"))
    if "webhook" in given and not has_address:
        yield ("webhook",), "requires 'api.address', at which the git server calls it"


def _problems_of_report(given: Mapping[str, Any] | None) -> Iterator[tuple[tuple[str | int, ...], str]]:
    if given is None or "sign" in given:
        return
    if pushes := [each for each in ("key", "token") if each in given]:
        yield ("report", pushes[0]), "is for pushing reports, which requires 'sign', the key to sign them with"
    elif not given:
        yield ("report",), "requires 'sign', or where the reports of other hosts are: 'to' or 'refs'"


def _problems_of_signatures(given: Mapping[str, Any]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    judged = "signers" in given or "openpgp" in given
    if "signed" not in given:
        yield (), "requires 'signed': 'every', 'head' or 'tag' together with 'signers', or 'no'"
    elif given["signed"] != "no" and not judged:
        yield ("signed",), "requires 'signers', the file of the keys that may sign"
    elif given["signed"] == "no" and judged:
        yield ("signed",), "is 'no', but 'signers' names keys: say 'every', 'head' or 'tag', or leave them out"
    if "scopes" in given and "first" not in given:
        yield ("scopes",), "requires 'first', the commit from which on a fresh host judges what signers change"
    if "urgent" in given and given.get("signed") not in {"every", "head"}:
        yield ("urgent",), "is for signed commits: say 'every' or 'head' in 'signed'"
    if "scopes" in given and given.get("signed") == "no":
        yield ("scopes",), "is for signed commits: say 'every', 'head' or 'tag' in 'signed'"


def _problems_of_statuses(url: str, given: Mapping[str, Any] | None) -> Iterator[tuple[tuple[str | int, ...], str]]:
    if given is None:
        return
    if "api" in given and (message := problem_of_api(given["api"])):
        yield ("statuses", "api"), message
    elif "api" not in given and url.startswith("/"):
        yield ("statuses",), "requires 'api', as 'url' names no git server"
    if not project_of(given.get("project"), url):
        yield ("statuses",), "requires 'project', as 'url' does not tell it"


def _path(file: str, path: object) -> Path:
    return Path(posixpath.dirname(file), str(path))


def _problem(file: str, node: Node, path: tuple[str | int, ...], message: str) -> Problem:
    return Problem(file=file, line=node.line, column=node.column, path=dotted(path), message=message)
