"""The source of an app in a repository, followed against a real one: what is taken, shared, refused and removed."""

import asyncio
import shutil
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from reconciler.manifests.git.commit_signatures import CommitSignatures
from reconciler.manifests.git.directories import Directories
from reconciler.manifests.git.follower import Follower
from reconciler.manifests.git.program import GitProgram
from reconciler.manifests.git.source_judge import TakenSources
from reconciler.manifests.git.source_trees import SourceTrees
from reconciler.manifests.git.store import Store
from reconciler.manifests.git.telling import Telling
from reconciler.metrics.origin_figures import OriginFigures
from reconciler.planning.apps.git_source import Followed
from reconciler.planning.origins.plan import OriginPlan
from reconciler.settings.git import GitOrigin
from reconciler.settings.git import Repository as Settings
from reconciler.state.journal import Journal
from reconciler.state.paths import StatePaths
from reconciler.state.schema import open_database
from tests.support.repository import Repository, signing
from tests.support.signing import Key, make_key

SHOP: Mapping[str, str | bytes | None] = {"shop/wsgi.py": "application = 1\n"}
MAIN = Followed(repository="code", branch="main")
BLOG: Mapping[str, str | bytes | None] = {"blog/wsgi.py": "application = 2\n"}


class Asked:
    """What git was asked for, command by command."""

    def __init__(self, directory: Path) -> None:
        self.git = GitProgram(directory)
        self.fetches = 0
        fetch = self.git.fetch

        async def counted(*args: Any, **options: Any) -> Any:
            self.fetches += 1
            return await fetch(*args, **options)

        self.git.fetch = counted  # type: ignore[method-assign]


@dataclass(slots=True)
class Host:
    """One host whose apps take the directories `paths` from what is followed."""

    state: StatePaths
    settings: Settings
    journal: Journal
    paths: tuple[str, ...] = ("shop",)
    followed: Followed = MAIN
    facts: dict[str, Any] = field(default_factory=dict)
    changes: int = 0
    fetches: int = 0

    @property
    def trees(self) -> SourceTrees:
        found = SourceTrees(self.state.source(self.followed.name), Directories(self.state.source("code")))
        found.paths = self.paths
        return found

    def follow(self) -> OriginPlan:
        """Let a daemon follow it until nothing is left to do; the plan that it ends with."""
        return asyncio.run(self._follow())

    async def _follow(self) -> OriginPlan:
        trees, asked = self.trees, Asked(self.state.git)
        origin = GitOrigin(
            name=self.followed.name,
            repository=replace(self.settings, signed="tag") if self.followed.signed else self.settings,
            host="web1",
            branch=self.followed.branch,
            tags=self.followed.tag,
            commit=self.followed.commit,
            paths=(),
            returns=False,
            is_source=True,
        )
        follower = Follower(
            origin,
            self.state,
            asked.git,
            signatures=CommitSignatures(origin.repository, self.state.git),
            in_force=TakenSources(trees),
            telling=Telling(self.journal, lambda _, facts: self.facts.update(facts), OriginFigures(), lambda _: None),
            changed=self._changed,
            apps=self,
        )
        await follower.begin()
        for _ in range(20):
            planned = await follower.step()
            if planned.action is None:
                self.fetches = asked.fetches
                return planned
        raise AssertionError("it never comes to rest")

    def _changed(self) -> None:
        self.changes += 1

    def with_commit(self, _: str, __: str) -> tuple[()]:
        return ()

    def wanted_with(self, _: str, __: str) -> dict[str, str | None]:
        return {}

    @property
    def in_force(self) -> str | None:
        return self.trees.in_force()

    def source(self, path: str) -> Path:
        """The directory that an app has its source at `path` from."""
        found = self.trees.resolved()
        return Path(found.top, found.trees[path])

    def written(self) -> set[str]:
        return {path.name for path in Directories(self.state.source("code")).top.iterdir() if path.is_dir()}


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository.at(tmp_path, "code")


@pytest.fixture
def host(tmp_path: Path, repository: Repository) -> Iterator[Host]:
    settings = Settings(name="code", urls=(str(repository.bare),), signed="no", timeout_s=30)
    (tmp_path / "state").mkdir()
    paths = StatePaths(state=tmp_path / "state")
    with closing(open_database(paths.database)) as database:
        yield Host(paths, settings, Journal(database))


def leftovers(host: Host) -> list[str]:
    found = [*host.state.git.rglob("*"), *host.state.sources.rglob("*")]
    return [path.name for path in found if path.name.startswith(("tmp_", ".draft-", ".gone-"))]


def test_the_directory_of_an_app_is_on_the_host_by_its_tree_id_and_nothing_else_of_the_commit_is(
    host: Host, repository: Repository
) -> None:
    commit = repository.push({**SHOP, **BLOG})
    assert host.follow().state == "current"
    assert host.in_force == commit
    assert host.source("shop").name == repository.git("rev-parse", "HEAD:shop")
    assert (host.source("shop") / "wsgi.py").read_text() == "application = 1\n"
    assert host.written() == {host.source("shop").name}
    assert leftovers(host) == []


def test_the_top_of_a_repository_is_a_source_too(host: Host, repository: Repository) -> None:
    repository.push({"wsgi.py": "application = 1\n"})
    host.paths = ("",)
    assert host.follow().state == "current"
    assert (host.source("") / "wsgi.py").read_text() == "application = 1\n"


def test_a_commit_that_touches_one_of_many_apps_is_one_fetch_and_writes_one_directory(
    host: Host, repository: Repository
) -> None:
    repository.push({f"app{n}/wsgi.py": f"application = {n}\n" for n in range(50)})
    host.paths = tuple(f"app{n}" for n in range(50))
    host.follow()
    before, sources = host.written(), {path: host.source(path) for path in host.paths}
    repository.push({"app7/wsgi.py": "application = 'new'\n"})
    host.follow()
    assert host.fetches == 1
    assert len(host.written() - before) == 1
    assert [path for path in host.paths if host.source(path) != sources[path]] == ["app7"]


def test_a_revert_and_another_branch_with_the_same_files_lead_to_the_same_directory(
    host: Host, repository: Repository
) -> None:
    repository.push(SHOP)
    host.follow()
    first = host.source("shop")
    repository.push({"shop/wsgi.py": "application = 'bad'\n"})
    host.follow()
    assert host.source("shop") != first
    repository.git("revert", "--no-edit", "HEAD")
    repository.git("push", "-q", "origin", "HEAD:main", "HEAD:refs/heads/stable")
    host.follow()
    assert host.source("shop") == first
    host.followed = Followed(repository="code", branch="stable")
    host.follow()
    assert host.source("shop") == first


def test_an_app_that_joins_has_its_directory_from_the_commit_in_force(host: Host, repository: Repository) -> None:
    commit = repository.push({**SHOP, **BLOG})
    host.follow()
    host.paths, changes = ("blog", "shop"), host.changes
    shutil.rmtree(repository.bare)
    host.follow()
    assert host.in_force == commit
    assert (host.source("blog") / "wsgi.py").read_text() == "application = 2\n"
    assert host.changes > changes


def test_an_unfit_directory_is_told_of_its_app_and_keeps_no_other_one_back(host: Host, repository: Repository) -> None:
    repository.push({**SHOP, **BLOG})
    host.paths = ("blog", "shop", "wrong")
    host.follow()
    found = host.trees.resolved()
    assert set(found.trees) == {"blog", "shop"}
    assert found.problems == {"wrong": f"commit {found.commit[:7]} has no directory 'wrong'"}
    (repository.work / "blog/link.py").symlink_to("../../etc/passwd")
    commit = repository.push({"shop/wsgi.py": "application = 'new'\n"})
    assert host.follow().state == "current"
    found = host.trees.resolved()
    assert found.commit == commit
    assert set(found.trees) == {"shop"}
    assert found.problems["blog"] == (
        f"commit {commit[:7]}, 'blog': link.py: is a symbolic link out of the directory of the app, or has '..' after a"
        " name"
    )


def test_a_commit_without_any_directory_that_apps_take_leaves_the_one_before_in_force(
    host: Host, repository: Repository
) -> None:
    first = repository.push(SHOP)
    host.follow()
    second = repository.push({"shop/wsgi.py": None, "web/wsgi.py": "application = 1\n"})
    planned = host.follow()
    assert planned.state == "missing"
    assert planned.message == f"commit {second[:7]} has no directory 'shop'; commit {first[:7]} stays in force"
    assert (host.source("shop") / "wsgi.py").is_file()


@pytest.mark.parametrize("kind", ["submodule", "pointer", "large"])
def test_what_an_origin_refuses_in_a_commit_is_refused_in_a_source(
    host: Host, repository: Repository, kind: str
) -> None:
    repository.push(SHOP)
    host.follow()
    before = host.in_force
    if kind == "submodule":
        head = repository.git("rev-parse", "HEAD")
        repository.git("update-index", "--add", "--cacheinfo", f"160000,{head},shop/inner")
        repository.git("commit", "-q", "-m", "Add it")
        repository.git("push", "-q", "origin", "HEAD:main")
    elif kind == "pointer":
        repository.push({"shop/data": "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"})
    else:
        host.settings = replace(host.settings, largest_file=100)
        repository.push({"shop/data": "x" * 200})
    planned = host.follow()
    assert planned.state == "refused"
    assert "'shop': " in planned.message
    assert host.in_force == before
    assert len(host.written()) == 1


def test_a_rewound_branch_and_a_moved_tag_are_refused(host: Host, repository: Repository) -> None:
    first = repository.push(SHOP)
    second = repository.push({"shop/wsgi.py": "application = 2\n"})
    repository.git("tag", "v1")
    repository.git("push", "-q", "origin", "v1")
    host.follow()
    repository.git("push", "-q", "-f", "origin", f"{first}:main")
    assert host.follow().state == "rewound"
    assert host.in_force == second
    host.followed = Followed(repository="code", tag="v1")
    assert host.follow().state == "current"
    repository.git("tag", "-f", "v1", first)
    repository.git("push", "-q", "-f", "origin", "v1")
    planned = host.follow()
    assert planned.state == "refused"
    assert "tag v1 was moved" in planned.message
    assert host.in_force == second


def test_a_commit_that_is_named_is_fetched_once_and_never_asked_for_again(host: Host, repository: Repository) -> None:
    first = repository.push(SHOP)
    repository.push({"shop/wsgi.py": "application = 2\n"})
    host.followed = Followed(repository="code", commit=first)
    assert host.follow().state == "current"
    assert (host.source("shop") / "wsgi.py").read_text() == "application = 1\n"
    shutil.rmtree(repository.bare)
    assert host.follow().state == "current"
    assert host.fetches == 0


def test_what_is_in_force_stays_while_nothing_can_be_fetched(host: Host, repository: Repository) -> None:
    commit = repository.push(SHOP)
    host.follow()
    moved = repository.bare.rename(repository.bare.with_name("away"))
    host.follow()
    assert host.in_force == commit
    assert (host.source("shop") / "wsgi.py").is_file()
    moved.rename(repository.bare)
    newer = repository.push({"shop/wsgi.py": "application = 2\n"})
    host.follow()
    assert host.in_force == newer


@pytest.mark.parametrize("lost", ["directory", "index", "store", "record"])
def test_what_is_lost_on_the_disk_is_written_again(host: Host, repository: Repository, lost: str) -> None:
    commit = repository.push(SHOP)
    host.follow()
    source = host.source("shop")
    if lost == "directory":
        shutil.rmtree(source)
    elif lost == "index":
        (source.parent / f"{source.name}.json").unlink()
    elif lost == "store":
        shutil.rmtree(host.state.git)
    else:
        (host.state.source(host.followed.name) / "record.json").write_text("{")
    host.follow()
    assert host.in_force == commit
    assert (host.source("shop") / "wsgi.py").read_text() == "application = 1\n"


def test_a_directory_that_was_half_written_is_never_used(
    host: Host, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.push({**SHOP, "shop/more.py": "x = 1\n"})
    full = OSError(28, "No space left on device")
    written: list[str] = []

    def write(path: str, *args: Any) -> None:
        written.append(path)
        if len(written) == 2:
            raise full
        Path(path).write_bytes(args[1])

    monkeypatch.setattr("reconciler.manifests.git.tree_files._write_file", write)
    monkeypatch.setattr("reconciler.manifests.git.follower.AGAIN_S", 0.01)
    host.follow()  # the next try has room
    assert (host.source("shop") / "more.py").read_text() == "x = 1\n"
    assert leftovers(host) == []
    assert any("No space left" in event.text for event in host.journal.newest(None, 100))


@pytest.fixture
def alice(host: Host, tmp_path: Path) -> Key:
    """A signer of a host that requires every commit to be signed."""
    key, signers = make_key(tmp_path / "alice"), tmp_path / "signers"
    signers.write_text(f"alice@example.com {key.public}\n")
    host.settings = replace(host.settings, signed="every", signers=signers)
    return key


def test_a_commit_that_is_not_signed_as_the_repository_requires_is_no_source(
    host: Host, repository: Repository, alice: Key
) -> None:
    signed = repository.push(SHOP, key=alice)
    assert host.follow().state == "current"
    assert host.facts["signed_by"].startswith("alice@example.com (SHA256:")
    unsigned = repository.push({"shop/wsgi.py": "application = 2\n"})
    planned = host.follow()
    assert planned.state == "refused"
    assert planned.message.startswith(f"commit {unsigned[:7]} is not signed")
    assert host.in_force == signed
    host.followed = Followed(repository="code", commit=unsigned)
    assert host.follow().state == "refused", "the signature of a commit that is named counts, too"
    assert host.trees.in_force() is None


def test_the_signature_of_a_tag_counts_in_place_of_those_of_commits_where_the_manifest_says_so(
    host: Host, repository: Repository, alice: Key
) -> None:
    commit = repository.push(SHOP)
    repository.git(*signing(alice), "tag", "-s", "-m", "Release", "v1")
    repository.git("tag", "-m", "Release", "v2")
    repository.git("push", "-q", "origin", "v1", "v2")
    host.followed = Followed(repository="code", tag="v1", signed=True)
    assert host.follow().state == "current"
    assert host.in_force == commit
    host.followed = Followed(repository="code", tag="v2", signed=True)
    assert "tag v2 is not signed" in host.follow().message
    host.followed = Followed(repository="code", tag="v1")
    assert f"commit {commit[:7]} is not signed" in host.follow().message


def test_the_store_of_a_source_is_no_origins(host: Host) -> None:
    names = {Followed(repository="code", branch="main").name, Followed(repository="code", tag="main").name}
    names |= {Followed(repository="code", branch="tag=main").name, Followed(repository="code", branch="a/b").name}
    names |= {Followed(repository="code", branch="a-b").name, Followed(repository="code", tag="main", signed=True).name}
    assert len(names) == 6
    for name in names:
        store = Store(
            GitProgram(host.state.git), host.state.git, GitOrigin(name=name, repository=host.settings, host="")
        )
        assert store.path.parent == host.state.git
