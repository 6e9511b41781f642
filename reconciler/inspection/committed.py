"""Judge what a commit of a repository on this machine comes to on a host, by the code that the daemon of that uses.

It needs no daemon and no network, and checks nothing out. The history and the signatures of the commit are not judged.
"""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from reconciler.documents.names import name_from
from reconciler.documents.problem import Problem
from reconciler.host.manifest_rules import rules_of
from reconciler.linux.dataclass import dataclass
from reconciler.linux.error_words import in_words
from reconciler.manifests.catalog import Catalog
from reconciler.manifests.git.candidate import Candidate, NotAccepted, Trial, Unjudged
from reconciler.manifests.git.commits import Commit, commit_of
from reconciler.manifests.git.contents import Contents, documents
from reconciler.manifests.git.fence import absent_files
from reconciler.manifests.git.objects import DamagedStore, Objects, TooLarge
from reconciler.manifests.git.program import GitProgram
from reconciler.manifests.git.servers import servers_by_type
from reconciler.manifests.git.trial import HostInForce
from reconciler.settings.git import GitOrigin, Repository
from reconciler.settings.git_file import at_host
from reconciler.settings.settings import Settings


class CannotJudge(Exception):
    """A repository or a commit that cannot be read, or an origin that is not clear; the message says which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A commit, and what it comes to: the apps and services that would be in force from it, by name.

    `refusal` says why it would not be accepted, "" if it would. `errors` are the problems of its files and manifests,
    `warnings` what these name and the commit does not have; files are named from the top of the repository.
    """

    commit: Commit
    origin: GitOrigin
    refusal: str = ""
    errors: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()
    files: int = 0
    apps: tuple[str, ...] = ()
    services: tuple[str, ...] = ()


def git_directory(directory: Path) -> Path:
    """Return where the objects of a repository are, be it bare or not. Raises CannotJudge."""
    for found in (directory / ".git", directory):
        if (found / "HEAD").is_file() or (found.name == ".git" and found.is_file()):
            return found.absolute()
    raise CannotJudge(f"{directory} is not the top of a git repository")


def origin_for(
    settings: Settings, directory: Path, host: str, *, name: str | None = None, paths: Sequence[str] = ()
) -> GitOrigin:
    """Return the origin as whose commit one of this repository is judged, as `host` has it. Raises CannotJudge.

    It is that of the settings with this name, otherwise the only one at this address, otherwise the only one, and
    without any in the settings one with every default. `paths` take the place of those that it has.
    """
    top = directory.resolve()
    origin = _chosen(settings.origins, top, name) or _default(top, host)
    return at_host(origin, host, paths)


def _chosen(origins: Sequence[GitOrigin], top: Path, name: str | None) -> GitOrigin | None:
    known = ", ".join(origin.name for origin in origins) or "none"
    if name is not None:
        found = [origin for origin in origins if origin.name == name]
        if not found:
            raise CannotJudge(f"no origin is named '{name}'; 'origins' in the host's settings has {known}")
        return found[0]
    here = [origin for origin in origins if any(_is_at(url, top) for url in origin.repository.urls)]
    if len(here or origins) > 1:
        raise CannotJudge(f"'origins' in the host's settings has {known}: name one with --origin")
    return next(iter(here or origins), None)


def _is_at(url: str, top: Path) -> bool:
    return url.startswith("/") and Path(url).resolve() == top


def _default(top: Path, host: str) -> GitOrigin:
    name = name_from(top.name.removesuffix(".git")) or "git"
    return GitOrigin(name=name, repository=Repository(name=name, urls=(str(top),), signed="no"), host=host)


def judged(settings: Settings, origin: GitOrigin, directory: Path, ref: str) -> Judged:
    """Judge the commit that a name of git's leads to in a repository. Blocks. Raises CannotJudge.

    The host that it is judged for has these settings, and no manifests but those of the commit.
    """
    try:
        with TemporaryDirectory(prefix="reconciler-git-") as scratch:
            program = GitProgram(Path(scratch))
            program.prepare()
            objects = Objects(program, git_directory(directory), origin.repository)
            rules = replace(rules_of(replace(settings, origins=(origin,))), is_free=lambda _host, _port: True)
            in_force = HostInForce(Catalog, rules, servers_by_type(settings), frozenset)
            return asyncio.run(_judged(origin, objects, Contents(origin, objects, in_force, Path(scratch)), ref))
    except OSError as error:
        raise CannotJudge(f"cannot run git: {in_words(error)}") from error
    except TimeoutError as error:
        raise CannotJudge("git takes too long") from error
    except DamagedStore as error:
        raise CannotJudge(f"{directory}: {error}") from error


async def _judged(origin: GitOrigin, objects: Objects, contents: Contents, ref: str) -> Judged:
    commit = await objects.resolved(ref)
    if commit is None:
        raise CannotJudge(f"'{ref}' leads to no commit in {objects.path}")
    known = Commit(id=commit, subject="", message="", author="")
    try:
        raw = await contents.read((commit,), "commit")
        known = commit_of(commit, raw[commit])
        new = Unjudged(origin=origin, store=objects, commit=known, accepted=None, new=(commit,), raw=raw)
        candidate, trial = await contents.judged(new)
    except NotAccepted as error:
        return Judged(commit=known, origin=origin, refusal=str(error), errors=_from_top(origin, error.problems))
    except TooLarge as error:
        return Judged(commit=known, origin=origin, refusal=f"it is too large: {error}")
    return _accepted(origin, candidate, trial)


def _accepted(origin: GitOrigin, candidate: Candidate, trial: Trial) -> Judged:
    return Judged(
        commit=candidate.unjudged.commit,
        origin=origin,
        errors=_from_top(origin, trial.problems),
        warnings=tuple(_absent(origin, candidate)),
        files=len(candidate.listing.files),
        apps=tuple(sorted(name for name in trial.after if not name.startswith("service "))),
        services=tuple(sorted(name[8:] for name in trial.after if name.startswith("service "))),
    )


def _from_top(origin: GitOrigin, problems: Sequence[Problem]) -> tuple[Problem, ...]:
    return tuple(replace(each, file=each.file.removeprefix(f"{origin.name}/")) for each in problems)


def _absent(origin: GitOrigin, candidate: Candidate) -> Iterator[Problem]:
    """Yield where valid manifests name what the commit does not have; what lies behind a link is not looked for."""
    valid = {file: each for file, each in candidate.listing.files.items() if file not in candidate.invalid}
    links = candidate.tree.links

    def has(place: str) -> bool:
        above = [place[:at] for at, character in enumerate(place) if character == "/"]
        return place in candidate.tree.files or place in candidate.directories or any(each in links for each in above)

    for path, tree in documents({file.removeprefix(f"{origin.name}/"): content for file, content in valid.items()}):
        yield from absent_files(path, tree, has)
