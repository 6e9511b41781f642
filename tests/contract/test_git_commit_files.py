"""The files of a commit are the same whether they are read as a whole or by what has changed since another commit."""

import asyncio
import os
import random
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from reconciler.manifests.catalog import Catalog
from reconciler.manifests.git.candidate import NotAccepted, Unjudged
from reconciler.manifests.git.commits import commit_of
from reconciler.manifests.git.contents import Contents
from reconciler.manifests.git.objects import Objects
from reconciler.manifests.git.program import GitProgram
from reconciler.manifests.git.trial import HostInForce
from reconciler.planning.fleet.fleet import Fleet
from tests.contract.test_git_origins import Host, app, host, repository
from tests.support.repository import Repository

__all__ = ["host", "repository"]

NIGHTLY = os.environ.get("RECONCILER_TESTS") == "nightly"
FLEET = "kind: fleet\nhosts: {web1: {}}\nwaves: [{name: all}]\n"
MANIFEST = "path: ../../apps/{name}\nstart: lazy\n"
NAMES = ("shop", "blog", "wiki")
# What a commit may do, each with the texts that it writes: None removes, and a tuple is where a link leads.
CHANGES: tuple[Mapping[str, str | tuple[str] | None], ...] = (
    *({f"hosts/web1/{name}.yaml": MANIFEST.format(name=name)} for name in NAMES),
    *({f"hosts/web1/{name}.yaml": None} for name in NAMES),
    *({f"apps/{name}/wsgi.py": f"application = {number}\n"} for name in NAMES for number in (1, 2)),
    *({f"apps/{name}/lib/deep/x.py": text} for name in NAMES for text in ("x = 1\n", None)),
    {"apps/shop/link.py": ("wsgi.py",)},
    {"apps/shop/link.py": ("lib/deep/x.py",)},
    {"apps/shop/link.py": ("../../../etc/passwd",)},
    {"apps/shop/link.py": None},
    {"apps/blog": "a file now\n"},
    {"apps/blog": None},
    {"apps/wiki/data": "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"},
    {"apps/wiki/data": None},
    {"README": "read\n"},
    {"other/con": "a device\n"},
    {"other/con": None},
    {"fleet.yaml": FLEET},
    {"fleet.yaml": "kind: fleet\n"},
    {"fleet.yaml": None},
    {"hosts/web1/shop.yaml": MANIFEST.format(name="shop") + "env: {KEY: {file: ../../key}}\n", "key": "x\n"},
    {"hosts/web1/shop.yaml": "path: [\n"},
    {"hosts/web1": "no directory\n"},
    {"hosts/web1": None},
)


def write(repository: Repository, change: Mapping[str, str | tuple[str] | None]) -> None:
    for name, content in change.items():
        path = repository.work / name
        repository.git("rm", "-r", "-q", "-f", "--ignore-unmatch", name)
        if content is None:
            continue
        for above in reversed(path.relative_to(repository.work).parents):
            if (repository.work / above).is_file():
                repository.git("rm", "-q", "-f", str(above))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(content[0]) if isinstance(content, tuple) else path.write_text(content)
    repository.git("add", "-A")


def judged(host: Host, contents: Contents, objects: Objects, commit: str) -> Any:
    """What a commit holds, or why it is not accepted."""
    raw = asyncio.run(objects.raw(commit))
    found = commit_of(commit, raw)
    unjudged = Unjudged(
        origin=host.origin, store=objects, commit=found, accepted=None, new=(commit,), raw={commit: raw}, is_taken=True
    )
    try:
        candidate, _ = asyncio.run(contents.judged(unjudged))
    except NotAccepted as error:
        return str(error)
    index = candidate.index
    fleet = asyncio.run(contents.fleets.fleet(commit))
    inside = {tree: dict(files) for tree, files in index.inside.items()}
    tree = candidate.tree
    return (
        dict(tree.files), tree.paths, tree.absent, dict(candidate.listing.files), dict(candidate.directories),
        candidate.named, dict(index.files), dict(index.shared), inside,
        asdict(fleet) if isinstance(fleet, Fleet) else fleet,
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(30 if NIGHTLY else 2))
@pytest.mark.parametrize("at_top", [False, True])
def test_any_row_of_commits_is_read_the_same_one_by_one_and_each_by_itself(
    host: Host, repository: Repository, seed: int, at_top: bool, tmp_path: Path
) -> None:
    chosen = random.Random(seed)
    if at_top:
        host.origin = replace(host.origin, paths=("", "hosts/web1"))
    git = GitProgram(tmp_path / "git")
    git.prepare()
    objects = Objects(git, repository.bare, host.origin.repository)
    in_force = HostInForce(Catalog, host.rules, {}, frozenset)
    one_by_one = Contents(host.origin, objects, in_force, tmp_path)
    write(repository, {path: str(text) for path, text in app("shop").items()})
    ways = set()
    for _ in range(25):
        write(repository, chosen.choice(CHANGES))
        commit = repository.push({})
        before = one_by_one._last
        expected = judged(host, Contents(host.origin, objects, in_force, tmp_path), objects, commit)
        assert judged(host, one_by_one, objects, commit) == expected
        ways.add((isinstance(expected, str), before is not None))
    assert len(ways) > 2 or seed > 1  # other rows may begin with what is refused for good
