"""An origin in git, followed against a real repository: what is fetched, judged and put in force, and what never is."""

import asyncio
import gc
import hashlib
import os
import resource
import shutil
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from reconciler.linux.files import replace_file
from reconciler.manifests.app_document import HostDefaults
from reconciler.manifests.catalog import Catalog, Rules, review
from reconciler.manifests.git import record as records
from reconciler.manifests.git.commit_signatures import CommitSignatures
from reconciler.manifests.git.follower import Follower
from reconciler.manifests.git.git_origin import GitOrigin as Read
from reconciler.manifests.git.objects import DamagedStore, Objects
from reconciler.manifests.git.program import GitProgram
from reconciler.manifests.git.telling import Telling
from reconciler.manifests.git.trees import Trees, contents_of
from reconciler.manifests.git.trial import HostInForce
from reconciler.manifests.origin import Listing, Unreadable
from reconciler.metrics.origin_figures import OriginFigures
from reconciler.planning.origins.commit_status import CommitStatus
from reconciler.planning.origins.observed import FetchFailure
from reconciler.planning.origins.plan import OriginPlan
from reconciler.planning.origins.proof import OriginApp, Wanted, wanted
from reconciler.settings.git import GitOrigin
from reconciler.settings.git import Repository as Settings
from reconciler.state.journal import Journal
from reconciler.state.paths import StatePaths
from reconciler.state.schema import open_database
from tests.support.repository import Repository

APP = {"hosts/web1/shop.yaml": "path: ../../apps/shop\n", "apps/shop/wsgi.py": "application = 1\n"}


def app(name: str, fields: str = "", code: str = "application = 1\n") -> dict[str, str | bytes | None]:
    """The files of an app: its manifest, and its code beside it."""
    return {f"hosts/web1/{name}.yaml": f"path: ../../apps/{name}\n{fields}", f"apps/{name}/wsgi.py": code}


@dataclass(frozen=True, slots=True)
class Apps:
    """Apps as they are with each commit, None while that is not known; with any other commit, all are up to date."""

    by_commit: Mapping[str, Sequence[OriginApp] | None]

    def with_commit(self, _: str, commit: str) -> Sequence[OriginApp] | None:
        return self.by_commit.get(commit, ())

    def wanted_with(self, origin: str, commit: str) -> Wanted | None:
        apps = self.with_commit(origin, commit)
        return None if apps is None else wanted(apps)


@dataclass(slots=True)
class Host:
    """One host that follows `origin`; `catalog` is what is in force, as the loop over the manifests would have it.

    `apps` are those with each commit, None while they are not known; with any other commit, all are up to date. `git`
    is what reaches the server.
    """

    state: StatePaths
    origin: GitOrigin
    journal: Journal
    facts: dict[str, Any] = field(default_factory=dict)
    catalog: Catalog = field(default_factory=Catalog)
    ports_taken: set[int] = field(default_factory=set)
    failure: FetchFailure | None = None
    services_on_record: frozenset[str] = frozenset()
    apps: dict[str, Sequence[OriginApp] | None] = field(default_factory=dict)
    git: Callable[[Path], GitProgram] = GitProgram
    figures: OriginFigures = field(default_factory=OriginFigures)
    statuses: list[CommitStatus | None] = field(default_factory=list)

    @property
    def rules(self) -> Rules:
        directories = {self.origin.name: str(self.state.current(self.origin.name))}
        defaults = HostDefaults(directories=directories)
        return Rules(
            host=defaults,
            ports=range(8000, 8100),
            is_free=lambda _, port: port not in self.ports_taken,
            prune_after_s=30,
        )

    def follower(self) -> Follower:
        def publish(_: str, facts: Mapping[str, Any]) -> None:
            self.facts = dict(facts)

        return Follower(
            self.origin,
            self.state,
            self.git(self.state.git),
            signatures=CommitSignatures(self.origin.repository, self.state.git),
            in_force=HostInForce(lambda: self.catalog, self.rules, {}, lambda: self.services_on_record),
            telling=Telling(self.journal, publish, self.figures, self.statuses.append),
            changed=self.look,
            apps=Apps(self.apps),
        )

    def look(self) -> None:
        self.catalog = review(self.catalog, [Read(self.origin, self.state).read()], self.rules, 0.0)

    def follow(self, change: Callable[[Follower], None] = lambda _: None) -> OriginPlan:
        """Let a daemon follow the origin until nothing is left to do; the plan that it ends with."""
        return asyncio.run(self._follow(change))

    async def _follow(self, change: Callable[[Follower], None]) -> OriginPlan:
        follower = self.follower()
        await follower.begin()
        change(follower)
        for _ in range(20):
            planned = await follower.step()
            self.failure = follower.observed.failure
            if planned.action is None:
                return planned
        raise AssertionError("it never comes to rest")

    def look_after_a_request(self, between: Callable[[], object]) -> list[float]:
        """Request a look, and let each later one be due at once; how long each would have waited.

        `between` is called after each look that has found nothing new.
        """
        return asyncio.run(self._look_after_a_request(between))

    async def _look_after_a_request(self, between: Callable[[], object]) -> list[float]:
        follower = self.follower()
        waited: list[float] = []
        await follower.begin()
        follower.look_now()
        before = self.in_force
        for _ in range(20):
            planned = await follower.step()
            if self.in_force != before:
                return waited
            if planned.action is None:
                waited.append(round(follower.observed.due_at - time.monotonic(), 0))
                between()
                follower._observed = replace(follower._observed, due_at=0.0)
        raise AssertionError("it never finds it")

    def events(self) -> list[tuple[str, str]]:
        return [(event.kind, event.text) for event in self.journal.newest(None, 100)]

    @property
    def in_force(self) -> str | None:
        found: str | None = self.facts["in_force"]
        return found


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository.at(tmp_path)


@pytest.fixture
def host(tmp_path: Path, repository: Repository) -> Iterator[Host]:
    settings = Settings(name="fleet", urls=(str(repository.bare),), signed="no", timeout_s=300)
    origin = GitOrigin(name="fleet", repository=settings, branch="main", host="web1", paths=("hosts/web1",))
    (tmp_path / "state").mkdir()
    paths = StatePaths(state=tmp_path / "state")
    with closing(open_database(paths.database)) as database:
        yield Host(paths, origin, Journal(database))


def limited(host: Host, **limits: Any) -> None:
    host.origin = replace(host.origin, repository=replace(host.origin.repository, **limits))


def leftovers(host: Host) -> list[Path]:
    found = [*host.state.git.rglob("*"), *host.state.origin("fleet").rglob("*")]
    return [path for path in found if path.name.endswith(".lock") and path.parent != host.state.git] + [
        path for path in found if path.name.startswith(("tmp_", ".draft-", ".gone-"))
    ]


def test_a_push_is_fetched_judged_and_in_force_and_each_is_told(host: Host, repository: Repository) -> None:
    commit = repository.push(APP, "Add the shop")
    assert host.follow().state == "current"
    assert (host.in_force, host.facts["accepted"], host.facts["head"]) == (commit, commit, commit)
    assert (host.state.current("fleet") / "apps/shop/wsgi.py").read_text() == "application = 1\n"
    assert host.catalog.apps["shop"].source.path == f"{host.state.current('fleet')}/hosts/web1/../../apps/shop"
    told = f"{commit[:7]} “Add the shop”"
    assert host.events() == [
        ("fetched", f"main is at commit {told}"),
        ("accepted", f"commit {told} is accepted"),
        ("applied", f"commit {told} is in force"),
    ]
    assert leftovers(host) == []


def test_a_commit_that_touches_one_app_changes_that_app_alone(host: Host, repository: Repository) -> None:
    first = repository.push({**app("blog"), **app("shop")})
    host.follow()
    before = host.catalog.apps
    second = repository.push({"apps/shop/wsgi.py": "application = 2\n"})
    host.follow()
    assert host.catalog.apps["blog"] is before["blog"]
    assert host.catalog.apps["shop"].source.pinned != before["shop"].source.pinned
    assert (host.catalog.apps["blog"].commit, host.catalog.apps["shop"].commit) == (first, second)
    repository.git("revert", "--no-edit", "HEAD")
    repository.git("push", "-q", "origin", "HEAD:main")
    host.follow()
    assert host.catalog.apps == before


def test_bytes_arrive_as_they_are_whatever_the_attributes_say(host: Host, repository: Repository) -> None:
    attributes = "* text eol=crlf ident filter=evil export-subst working-tree-encoding=UTF-16 diff=evil\n"
    code = "# $Id$ $Format:%H$\napplication = 1\n"
    repository.write({**app("shop", code=code), ".gitattributes": ""})
    blob = repository.git("hash-object", "-w", "--stdin", "--no-filters", given=attributes.encode())
    repository.git("add", "-A")
    repository.git("update-index", "--cacheinfo", f"100644,{blob},.gitattributes")
    repository.git("update-index", "--add", "--cacheinfo", f"100644,{blob},apps/shop/.gitattributes")
    repository.git("commit", "-q", "-m", "Attributes")
    repository.git("push", "-q", "origin", "HEAD:main")
    assert host.follow().state == "current"
    top = host.state.current("fleet")
    assert (top / "apps/shop/wsgi.py").read_text() == code
    assert (top / "apps/shop/.gitattributes").read_text() == attributes


def test_a_program_stays_one_and_a_link_inside_the_source_too(host: Host, repository: Repository) -> None:
    repository.write({**app("shop"), "apps/shop/run": "#!/bin/sh\n"})
    (repository.work / "apps/shop/run").chmod(0o755)
    (repository.work / "apps/shop/link.py").symlink_to("wsgi.py")
    repository.push({})
    host.follow()
    source = host.state.current("fleet") / "apps/shop"
    assert os.access(source / "run", os.X_OK)
    assert not os.access(source / "wsgi.py", os.X_OK)
    assert (source / "link.py").readlink() == Path("wsgi.py")
    assert host.catalog.apps["shop"].source.pinned == "", "what a link leads to may change without the directory"


def test_a_commit_that_found_no_free_port_is_accepted_once_there_is_one(host: Host, repository: Repository) -> None:
    commit = repository.push(app("shop"))
    host.ports_taken.update(range(8000, 8100))
    planned, follower = [], host.follower()

    async def story() -> None:
        await follower.begin()
        for _ in range(3):
            follower._observed = replace(follower._observed, due_at=0.0)
            while (await follower.step()).action is not None:
                pass
            planned.append((follower.plan().state, host.in_force))
            if len(planned) == 2:
                host.ports_taken.remove(8042)

    asyncio.run(story())
    assert planned == [("refused", None), ("refused", None), ("current", commit)]
    assert host.catalog.apps["shop"].address is not None
    assert host.figures.as_json()["refused"] == {"refused": 1}, "however often it is judged"


def test_one_bad_manifest_refuses_the_whole_commit_with_its_place(host: Host, repository: Repository) -> None:
    commit = repository.push(app("shop"))
    host.follow()
    repository.push({**app("shop", code="application = 2\n"), **app("blog", "wrokers: 2\n")})
    planned = host.follow()
    assert planned.state == "refused"
    assert planned.message == (
        "fleet/hosts/web1/blog.yaml:2:1: wrokers: unknown field 'wrokers'; did you mean 'workers'?;"
        f" commit {commit[:7]} stays in force"
    )
    assert host.in_force == commit
    assert (host.state.current("fleet") / "apps/shop/wsgi.py").read_text() == "application = 1\n"
    fixed = repository.push(app("blog", "workers: 2\n"))
    assert host.follow().state == "current"
    assert host.in_force == fixed
    assert set(host.catalog.apps) == {"blog", "shop"}


def test_a_commit_is_taken_file_by_file_where_the_settings_say_so(host: Host, repository: Repository) -> None:
    host.origin = replace(host.origin, whole=False)
    commit = repository.push({**app("shop"), **app("blog", "wrokers: 2\n")})
    assert host.follow().state == "current"
    assert host.in_force == commit
    assert set(host.catalog.apps) == {"shop"}
    assert Trees(host.state.origin("fleet")).index(commit).invalid == {"hosts/web1/blog.yaml"}


def test_what_leads_out_of_the_repository_is_refused_with_its_place(host: Host, repository: Repository) -> None:
    repository.push(app("shop", "env: {KEY: {file: /etc/reconciler/key}}\n"))
    planned = host.follow()
    assert planned.state == "refused"
    assert "fleet/hosts/web1/shop.yaml:2:19: env.KEY.file: leads out of the repository" in planned.message
    repository.push({"hosts/web1/shop.yaml": "path: ../../../shop\n"})
    assert "shop.yaml:1:7: path: leads out of the repository" in host.follow().message


def test_a_service_whose_data_is_retained_is_taken_by_no_commit_until_the_settings_give_it(
    host: Host, repository: Repository
) -> None:
    commit = repository.push(app("shop"))
    host.follow()
    host.services_on_record = frozenset({"payroll-db"})  # and no manifest declares it any more
    declaration = "kind: service\nname: payroll-db\ntype: sqlite\n"
    files = app("shop", "services: [payroll-db]\n")
    claiming = repository.push(files | {"hosts/web1/db.yaml": declaration}, "Take what is there")
    planned = host.follow()
    assert (planned.state, host.in_force) == ("refused", commit)
    assert "fleet/hosts/web1/db.yaml:2:" in planned.message
    assert "the data of a former service 'payroll-db' is this host's, and kept" in planned.message
    host.origin = replace(host.origin, may={"services": ["payroll-*"]})
    assert (host.follow().state, host.in_force) == ("current", claiming)


@pytest.mark.parametrize("how", ["older", "amended", "unrelated"])
def test_a_rewound_branch_is_never_followed_until_an_operator_takes_it(
    host: Host, repository: Repository, how: str
) -> None:
    first = repository.push(app("shop"))
    host.follow()
    second = repository.push(app("shop", code="application = 2\n"))
    host.follow()
    match how:
        case "older":
            repository.git("reset", "-q", "--hard", first)
        case "amended":
            repository.git("commit", "-q", "--amend", "-m", "Another")
        case _:
            repository.git("checkout", "-q", "--orphan", "other")
            repository.git("commit", "-q", "-m", "Another history")
    head = repository.git("rev-parse", "HEAD")
    repository.git("push", "-q", "--force", "origin", "HEAD:main")
    planned = host.follow()
    assert planned.state == "rewound"
    assert f"commit {head[:7]} does not descend from {second[:7]}" in planned.message
    assert planned.message.endswith(f"; commit {second[:7]} stays in force")
    assert host.in_force == second
    taken = host.follow(lambda follower: follower.request(lambda record: replace(record, taken=head, verdict=None)))
    assert taken.state == "current"
    assert host.in_force == head


def test_a_bad_commit_that_is_withdrawn_leaves_no_trace(host: Host, repository: Repository) -> None:
    good = repository.push(app("shop"))
    host.follow()
    repository.push(app("blog", "wrokers: 2\n"))
    assert host.follow().state == "refused"
    repository.git("reset", "-q", "--hard", good)
    repository.git("push", "-q", "--force", "origin", "HEAD:main")
    assert host.follow().state == "current"
    fixed = repository.push(app("blog"))
    assert host.follow().state == "current"
    assert host.in_force == fixed


def test_a_branch_that_is_deleted_and_one_that_never_was_stop_nothing(host: Host, repository: Repository) -> None:
    planned = host.follow()
    assert (planned.state, planned.message) == (
        "missing",
        "the repository has no branch 'main'; no commit is in force yet",
    )
    commit = repository.push(app("shop"))
    host.follow()
    repository.git("push", "-q", "origin", "--delete", "main")
    planned = host.follow()
    assert (planned.state, host.in_force) == ("missing", commit)
    repository.git("push", "-q", "origin", "HEAD:main")
    assert host.follow().state == "current"


def _unrelated(repository: Repository) -> None:
    repository.git("checkout", "-q", "--orphan", "other")
    repository.commit(app("shop", "", "application = 'other'\n"))
    repository.git("push", "-q", "-f", "origin", "HEAD:main")


def _amended(repository: Repository) -> None:
    repository.git("commit", "-q", "--amend", "-m", "Amended")
    repository.git("push", "-q", "-f", "origin", "HEAD:main")


def _made_again(repository: Repository) -> None:
    repository.git("push", "-q", "origin", ":main")
    _unrelated(repository)


def _emptied(repository: Repository) -> None:
    repository.git("update-ref", "-d", "refs/heads/main", at=repository.bare)


def _a_tag(repository: Repository) -> None:
    _emptied(repository)
    repository.git("update-ref", "refs/tags/main", "HEAD^0")
    repository.git("push", "-q", "origin", "refs/tags/main")


@pytest.mark.nightly
@pytest.mark.parametrize("change", [_unrelated, _amended, _made_again, _emptied, _a_tag])
def test_whatever_becomes_of_a_branch_is_not_taken_and_stops_nothing(
    host: Host, repository: Repository, change: Callable[[Repository], None]
) -> None:
    repository.push(APP)
    commit = repository.push(app("blog"))
    host.follow()
    change(repository)
    planned = host.follow()
    assert planned.state in {"rewound", "missing"}
    assert (bool(planned.message), host.in_force) == (True, commit)
    repository.git("push", "-q", "-f", "origin", f"{commit}:refs/heads/main")
    assert (host.follow().state, host.in_force) == ("current", commit)


@pytest.mark.nightly
@pytest.mark.parametrize("branch", ["HEAD", "-x", "a..b", "--upload-pack=touch canary", "main:refs/heads/x"])
def test_the_name_of_a_branch_is_never_anything_else(host: Host, repository: Repository, branch: str) -> None:
    commit = repository.push(APP)
    host.follow()
    host.origin = replace(host.origin, branch=branch)
    assert host.follow().state in {"missing", "unreachable", "current"}
    assert (host.facts["head"] or commit, host.in_force) == (commit, commit)
    assert repository.git("for-each-ref", "--format=%(refname)", at=repository.bare) == "refs/heads/main"


@pytest.mark.nightly
def test_a_repository_within_a_repository_is_files_and_nothing_in_it_runs(
    host: Host, repository: Repository, tmp_path: Path
) -> None:
    canary = tmp_path / "canary"
    config = f"[core]\n\tbare = true\n\tfsmonitor = touch {canary}\n\tsshCommand = touch {canary}\n"
    inside = {f"apps/shop/{name}": text for name, text in {
        "HEAD": "ref: refs/heads/main\n", "config": config, "objects/x": "", "refs/x": "", "hooks/update": config,
        ".gitconfig": f"[alias]\n\tcat-file = !touch {canary}\n", ".gitattributes": "* filter=x ident export-ignore\n",
    }.items()}  # fmt: skip
    repository.push({**APP, **inside})
    assert host.follow().state == "current"
    top = host.state.current("fleet")
    assert {path: (top / path).read_text() for path in inside} == inside
    assert not canary.exists()


def test_a_directory_that_is_emptied_or_renamed_stops_nothing(host: Host, repository: Repository) -> None:
    commit = repository.push(app("shop"))
    host.follow()
    repository.git("mv", "hosts/web1", "hosts/web9")
    repository.push({})
    planned = host.follow()
    assert planned.state == "missing"
    assert "has no manifest in 'hosts/web1' any more" in planned.message
    assert host.in_force == commit
    repository.push({}, "It is meant\n\nReconciler-Removes: shop")
    assert host.follow().state == "current"
    assert host.catalog.apps == {}


def test_a_commit_that_removes_most_apps_is_held_until_that_is_declared(host: Host, repository: Repository) -> None:
    names = [f"app{number}" for number in range(5)]
    files = {path: content for name in names for path, content in app(name).items()}
    commit = repository.push(files)
    host.follow()
    gone = {path: None for name in names[:3] for path in app(name)}
    repository.push(gone)
    planned = host.follow()
    assert (planned.state, host.in_force) == ("held", commit)
    assert "removes 3 of 5 apps" in planned.message
    repository.push({}, "They are not needed\n\nReconciler-Removes: app0, app1, app2")
    assert host.follow().state == "current"
    assert set(host.catalog.apps) == {"app3", "app4"}


def test_a_refused_commit_is_passed_over_and_its_descendant_is_not(host: Host, repository: Repository) -> None:
    commit = repository.push(app("shop"))
    host.follow()
    unwanted = repository.push(app("blog"))

    def refuse(follower: Follower) -> None:
        follower.request(lambda record: replace(record, refusals=(unwanted,)))

    assert host.follow(refuse).state == "refused"
    assert host.in_force == commit
    newest = repository.push(app("blog", "workers: 2\n"))
    assert host.follow().state == "current"
    assert host.in_force == newest


def test_the_commit_that_trust_begins_with_is_required_of_a_fresh_host(host: Host, repository: Repository) -> None:
    repository.push(app("shop"))
    limited(host, first="1" * 40)
    planned = host.follow()
    assert planned.state == "refused"
    assert "does not descend from 1111111, which trust begins with" in planned.message


def test_a_file_above_the_limit_is_refused(host: Host, repository: Repository) -> None:
    commit = repository.push(app("shop"))
    host.follow()
    limited(host, largest_file=1024)
    repository.push({"apps/shop/data.bin": os.urandom(2048)})
    planned = host.follow()
    assert planned.state == "refused"
    assert "apps/shop/data.bin: is 2 KiB; the limit is 1 KiB a file" in planned.message
    assert host.in_force == commit


def test_a_fetch_above_the_limit_fails_and_leaves_nothing_behind(host: Host, repository: Repository) -> None:
    commit = repository.push(app("shop"))
    host.follow()
    limited(host, largest_store=256 * 1024)
    repository.push({"apps/shop/data.bin": os.urandom(2 * 1024 * 1024)})
    host.follow()
    assert host.failure == FetchFailure(code="too-large", why="it is larger than 'size' of the repository")
    assert host.in_force == commit
    assert leftovers(host) == []


def with_a_message_of(repository: Repository, size: int, into: Path) -> str:
    """A commit whose message is so large, in a file of a store that is not; its id."""
    head = repository.git("rev-parse", "HEAD")
    about = repository.git("cat-file", "commit", head).partition("\n\n")[0].splitlines()
    lines = [line for line in about if not line.startswith("parent ")]
    lines.insert(1, f"parent {head}")
    raw = "\n".join(lines).encode() + b"\n\n" + b"a" * size + b"\n"
    whole = b"commit %d\0" % len(raw) + raw
    commit = hashlib.sha1(whole, usedforsecurity=False).hexdigest()
    loose = into / "objects" / commit[:2] / commit[2:]
    loose.parent.mkdir(exist_ok=True)
    loose.write_bytes(zlib.compress(whole, 1))
    return commit


def test_a_message_of_gigabytes_in_a_small_pack_takes_no_more_memory_than_the_limit(
    host: Host, repository: Repository
) -> None:
    commit = repository.push(app("shop"))
    host.follow()
    limited(host, largest_store=1024 * 1024)  # git then has 130 MiB
    large = with_a_message_of(repository, 140 * 1024 * 1024, repository.bare)
    repository.git("update-ref", "refs/heads/main", large, at=repository.bare)
    host.follow()
    why = "git needs more memory for it than 'size' of the repository allows"
    assert host.failure == FetchFailure(code="too-large", why=why)
    assert host.in_force == commit
    assert leftovers(host) == []


def test_what_takes_more_memory_to_read_than_the_limit_refuses_the_commit(host: Host, repository: Repository) -> None:
    commit = repository.push(app("shop"))
    host.follow()
    large = with_a_message_of(repository, 140 * 1024 * 1024, host.state.git / "fleet.git")
    limited(host, largest_store=1024 * 1024)

    def record_the_head(follower: Follower) -> None:
        follower.record = replace(follower.record, head=large)
        follower._observed = replace(follower._observed, due_at=time.monotonic() + 60)

    planned = host.follow(record_the_head)
    limit = "git needs more than 130 MiB of memory to read it, which is the limit"
    assert (planned.state, host.in_force) == ("refused", commit)
    assert planned.message.startswith(f"commit {large[:7]} is too large: {limit}")


def test_a_listing_that_is_larger_than_what_is_kept_of_it_refuses_the_commit(
    host: Host, repository: Repository
) -> None:
    commit = repository.push(app("shop"))
    host.follow()
    blob = repository.git("hash-object", "-w", "--stdin", given=b"a")
    name = "a" * 200
    leaves = "".join(f"100644 blob {blob}\t{name}{i:05}\n" for i in range(500))
    tree = repository.git("mktree", given=leaves.encode())
    above = "".join(f"040000 tree {tree}\t{name}{i:05}\n" for i in range(300))
    top = repository.git("mktree", given=above.encode())
    large = repository.git("commit-tree", top, "-p", "HEAD", "-m", "List a lot")
    repository.git("push", "-q", "origin", f"{large}:main")
    planned = host.follow()
    assert (planned.state, host.in_force) == ("refused", commit)
    limit = "git prints more than 64 MiB about it, which is the limit"
    assert planned.message.startswith(f"commit {large[:7]} is too large: {limit}")


@pytest.mark.parametrize(
    "url",
    [
        "ext::sh -c touch% {canary}",
        *(
            pytest.param(url, marks=pytest.mark.nightly)
            for url in ("file://{other}", "-u./evil", "--upload-pack=touch {canary}", "{other}\r", "../other.git")
        ),
    ],
)
def test_a_submodule_is_refused_with_a_sentence_and_nothing_is_fetched_for_it(
    host: Host, repository: Repository, tmp_path: Path, url: str
) -> None:
    commit = repository.push(app("shop"))
    host.follow()
    canary, other = tmp_path / "canary", Repository.at(tmp_path, "other")
    secret = other.push({"secret": "of another repository\n"})
    text = f'[submodule "x"]\n\tpath = .git/hooks\n\turl = "{url.format(canary=canary, other=other.bare)}"\n'
    repository.write({".gitmodules": text})
    repository.git("add", "-A")
    repository.git("update-index", "--add", "--cacheinfo", f"160000,{secret},apps/shop/x")
    repository.git("commit", "-q", "-m", "A submodule")
    repository.git("push", "-q", "origin", "HEAD:main")
    message = host.follow().message
    refused_by_git = (
        host.failure is not None and "gitmodules" in host.failure.why
    )  # the text itself is one that git knows
    assert refused_by_git or "apps/shop/x: is a submodule, which is not fetched" in message
    assert host.in_force == commit
    assert not canary.exists()
    assert secret not in repository.git("rev-list", "--all", "--objects", at=host.state.git / "fleet.git")


def test_an_object_that_is_missing_is_asked_of_no_server_when_it_is_read(
    host: Host, repository: Repository, tmp_path: Path
) -> None:
    """Test 39. With the same store, git left to itself fetches it."""
    repository.push(app("shop", code="application = 'large'\n"))
    repository.git("config", "uploadpack.allowFilter", "true", at=repository.bare)
    store = tmp_path / "filtered.git"
    address = f"file://{repository.bare}"
    repository.git("clone", "-q", "--bare", "--filter=blob:none", address, str(store), at=tmp_path)
    missing = repository.git("rev-parse", "HEAD:apps/shop/wsgi.py")
    git = GitProgram(host.state.git)
    git.prepare()
    objects = Objects(git, store, host.origin.repository)
    asked, into = tmp_path / "asked", tmp_path / "into"
    asked.write_text(f"{missing}\n")
    with pytest.raises(OSError, match="git does not know the object"):
        contents_of_asked(objects, asked, into)
    with pytest.raises(DamagedStore):
        asyncio.run(objects.sizes(asked))
    assert repository.git("cat-file", "blob", missing, at=store) == "application = 'large'", "the control"


def contents_of_asked(objects: Objects, asked: Path, into: Path) -> None:
    try:
        asyncio.run(objects.contents(asked, into))
    except DamagedStore as error:
        raise OSError("git does not know the object") from error
    contents_of(into)


@pytest.mark.nightly
def test_looks_that_find_nothing_new_leave_no_more_descriptors_or_files(host: Host, repository: Repository) -> None:
    """Test 3: a hundred looks; what each costs, and what memory they leave, is printed."""
    repository.push(app("shop"))

    async def look(follower: Follower, times: int) -> tuple[int, set[str], int]:
        for _ in range(times):
            follower._observed = replace(follower._observed, due_at=0.0)
            while (await follower.step()).action is not None:
                pass
            host.statuses.clear()  # what the test keeps is none of the follower's
        gc.collect()
        files = {str(path) for path in host.state.state.rglob("*")}
        return len([*Path("/proc/self/fd").iterdir()]), files, tracemalloc.get_traced_memory()[0]

    async def story() -> None:
        follower = host.follower()
        await follower.begin()
        tracemalloc.start()
        try:
            descriptors, files, memory = await look(follower, 30)
            began = time.process_time(), resource.getrusage(resource.RUSAGE_CHILDREN)
            after = await look(follower, 100)
            ended = time.process_time(), resource.getrusage(resource.RUSAGE_CHILDREN)
        finally:
            tracemalloc.stop()
        of_git_s = ended[1].ru_utime + ended[1].ru_stime - began[1].ru_utime - began[1].ru_stime
        print(f"a look: {10 * (ended[0] - began[0]):.1f} ms here, traced, and {10 * of_git_s:.1f} ms of git")
        print(f"{after[2] - memory} bytes more")
        assert after[:2] == (descriptors, files)

    asyncio.run(story())


def _lock(store: Path) -> None:
    for name in ("HEAD.lock", "shallow.lock", "config.lock", "packed-refs.lock", "refs/reconciler/fleet/head.lock"):
        (store / name).write_text("")
    (store / "objects/pack/tmp_pack_x").write_text("x")


def _no_head(store: Path) -> None:
    (store / "HEAD").unlink()


def _empty_reference(store: Path) -> None:
    (store / "refs/reconciler/fleet/head").write_text("")


def _cut_pack(store: Path) -> None:
    (pack,) = (store / "objects/pack").glob("*.pack")
    pack.chmod(0o644)
    pack.write_bytes(pack.read_bytes()[:40])


def _gone(store: Path) -> None:
    store.rename(store.with_name("elsewhere"))


@pytest.mark.parametrize("damage", [_lock, _no_head, _empty_reference, _cut_pack, _gone])
def test_a_damaged_store_is_made_again_without_a_person(
    host: Host, repository: Repository, damage: Callable[[Path], None]
) -> None:
    commit = repository.push(app("shop"))
    host.follow()
    damage(host.state.git / "fleet.git")
    assert host.follow().state == "current"
    assert host.in_force == commit
    newest = repository.push(app("blog"))
    assert host.follow().state == "current"
    assert host.in_force == newest
    assert leftovers(host) == []


def test_what_was_accepted_is_known_although_the_record_is_lost(host: Host, repository: Repository) -> None:
    repository.push(app("shop"))
    host.follow()
    second = repository.push(app("blog"))
    host.follow()
    (host.state.origin("fleet") / "record.json").write_text("{")
    repository.git("push", "-q", "--force", "origin", "HEAD~1:main")
    assert host.follow().state == "rewound"
    assert host.in_force == second


def test_files_that_were_changed_on_the_disk_are_written_again(host: Host, repository: Repository) -> None:
    commit = repository.push(app("shop"))
    host.follow()
    (host.state.current("fleet") / "hosts/web1/shop.yaml").write_text("path: /\n")
    host.look()
    assert host.follow().state == "current"
    assert host.in_force == commit
    assert isinstance(Read(host.origin, host.state).read(), Listing)
    assert host.catalog.apps["shop"].source.path.endswith("apps/shop")


def test_a_file_that_an_app_rewrote_in_its_size_is_not_part_of_the_next_commit(
    host: Host, repository: Repository
) -> None:
    repository.push(app("shop"))
    host.follow()
    code = host.state.current("fleet") / "apps/shop/wsgi.py"
    code.write_text("application = 2\n")
    commit = repository.push(app("blog"))
    assert (host.follow().state, host.in_force) == ("current", commit)
    assert code.read_text() == "application = 1\n"


def test_a_manifest_that_an_app_rewrote_in_its_size_is_not_read(host: Host, repository: Repository) -> None:
    repository.push(app("shop"))
    host.follow()
    manifest = host.state.current("fleet") / "hosts/web1/shop.yaml"
    manifest.write_text(manifest.read_text().replace("shop", "shot"))
    found = Read(host.origin, host.state).read()
    assert isinstance(found, Unreadable)
    assert "hosts/web1/shop.yaml" in found.reason
    assert "was changed on the disk" in found.reason


def test_a_full_disk_while_a_commit_is_good_delays_no_later_one(
    host: Host, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = records.write

    def write(path: Path, record: records.Record) -> None:
        if record.good is not None:
            raise OSError(28, "No space left on device")
        written(path, record)

    monkeypatch.setattr(records, "write", write)
    repository.push(APP)
    assert host.follow().state == "current"
    assert host.facts["good"] is None
    newest = repository.push(app("blog"))
    assert host.follow().state == "current"
    assert host.in_force == newest
    assert ("failed", "cannot write down that a commit is good: No space left on device") in host.events()
    monkeypatch.setattr(records, "write", written)
    host.follow()
    assert host.facts["good"] == newest


@pytest.mark.parametrize("loss", ["home", "configuration", "all of it", "what it says", "a directory"])
def test_the_configuration_of_git_is_there_before_git_runs(host: Host, repository: Repository, loss: str) -> None:
    """Without it, git would follow redirects, check no object that it gets, and read the settings of the host."""
    repository.push(app("shop"))
    git, told = host.state.git, (host.state.git / "config")
    written: list[str] = []

    async def story() -> None:
        follower = host.follower()
        await follower.begin()
        for _ in range(2):
            follower._observed = replace(follower._observed, due_at=0.0)
            while (await follower.step()).action is not None:
                pass
            written.append(told.read_text())
            match loss:
                case "home":
                    (git / "home").rmdir()
                case "configuration":
                    told.unlink()
                case "all of it":
                    shutil.rmtree(git)
                case "what it says":
                    replace_file(told, "[http]\n\tfollowRedirects = true\n")
                case _:
                    told.unlink()
                    told.mkdir()
            commits.append(repository.push(app("shop", code=f"application = {len(commits)}\n")))

    commits = [repository.git("rev-parse", "HEAD")]
    asyncio.run(story())
    assert host.in_force == commits[1]
    assert written[0] == written[1]
    assert "followRedirects = false" in written[1]


def test_what_keeps_this_host_from_fetching_is_told_and_mended(host: Host, repository: Repository) -> None:
    commit = repository.push(app("shop"))
    host.follow()
    planned = []

    async def story() -> None:
        follower = host.follower()
        await follower.begin()
        away = host.state.git.rename(host.state.git.with_name("away"))
        host.state.git.write_text("a file in the place of the directory")
        for each in range(4):
            if each == 3:
                host.state.git.unlink()
                away.rename(host.state.git)
            follower._observed = replace(follower._observed, due_at=0.0)
            while (await follower.step()).action is not None:
                follower.wake()  # there is no need to wait for the next try
            planned.append((follower.plan().state, follower.plan().message))

    asyncio.run(story())
    assert planned[0][0] == "current"  # one look that fails is not told
    told = f"this host cannot fetch: File exists ({host.state.git}); commit {commit[:7]} stays in force"
    assert planned[1] == ("unreachable", told)
    assert planned[2][0] == "unreachable"
    assert planned[3][0] == "current"


def test_three_commits_are_kept_and_no_more(host: Host, repository: Repository) -> None:
    commits = []
    for number in range(5):
        commits.append(repository.push(app("shop", code=f"application = {number}\n")))
        host.follow()
    trees = host.state.origin("fleet") / "trees"
    assert {path.name for path in trees.iterdir() if path.is_dir()} == set(commits[-3:])
    assert {path.stem for path in trees.glob("*.json")} == set(commits[-3:])


def test_a_second_address_is_tried_when_the_first_does_not_answer(host: Host, repository: Repository) -> None:
    limited(host, urls=(f"{repository.bare}-gone", str(repository.bare)))
    commit = repository.push(app("shop"))
    assert host.follow().state == "current"
    assert host.in_force == commit


def test_the_environment_of_the_daemon_and_the_configuration_of_the_host_have_no_effect(
    host: Host, repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    canary = tmp_path / "canary"
    evil = tmp_path / "bin"
    evil.mkdir()
    for name in ("git", "ssh", "git-upload-pack"):
        (evil / name).write_text(f"#!/bin/sh\ntouch {canary}\nexit 1\n")
        (evil / name).chmod(0o755)
    (tmp_path / ".gitconfig").write_text(f"[core]\n\tfsmonitor = touch {canary}\n[fetch]\n\tprune = true\n[broken\n")
    hostile = {
        "PATH": f"{evil}:{os.environ['PATH']}", "HOME": str(tmp_path), "GIT_DIR": "/nowhere",
        "GIT_WORK_TREE": "/nowhere",
        "GIT_SSH_COMMAND": f"touch {canary}", "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "core.sshCommand",
        "GIT_CONFIG_VALUE_0": f"touch {canary}", "GIT_EXTERNAL_DIFF": f"touch {canary}", "GIT_TRACE": str(canary),
        "GIT_ASKPASS": f"touch {canary}", "SSH_ASKPASS": f"touch {canary}", "GIT_OBJECT_DIRECTORY": "/nowhere",
        "GIT_EXEC_PATH": str(evil), "GIT_TEMPLATE_DIR": str(tmp_path),
        "GIT_CONFIG_GLOBAL": str(tmp_path / ".gitconfig"),
    }  # fmt: skip
    commit = repository.push(app("shop"))
    for name, value in hostile.items():
        monkeypatch.setenv(name, value)
    assert host.follow().state == "current"
    assert host.in_force == commit
    assert not canary.exists()


def test_many_commits_at_once_are_judged_by_a_few_runs_of_git(
    host: Host, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.push(app("shop"))
    host.follow()
    for number in range(30):
        repository.commit({}, f"Nothing {number}")
    newest = repository.push(app("blog"))
    runs: list[tuple[str, ...]] = []
    real = GitProgram.read

    async def counted(self: GitProgram, store: Path, *words: str, **options: Any) -> Any:
        runs.append(words)
        return await real(self, store, *words, **options)

    monkeypatch.setattr(GitProgram, "read", counted)
    assert host.follow().state == "current"
    assert host.in_force == newest
    assert len(runs) < 25, runs


def test_two_origins_on_two_branches_keep_what_each_of_them_fetched(host: Host, repository: Repository) -> None:
    repository.push(app("shop"))
    repository.git("push", "-q", "origin", "HEAD:other")
    first, second = host.origin, replace(host.origin, name="second", branch="other")
    for _ in range(2):
        for host.origin in (first, second):
            host.catalog = Catalog()  # both ask for the same app
            assert host.follow().state == "current"
    stores = [host.state.git / f"{name}.git" for name in ("fleet", "second")]
    before = [store.stat().st_ino for store in stores]
    for host.origin in (first, second):
        host.follow()
    assert [store.stat().st_ino for store in stores] == before


def test_a_local_manifest_of_the_same_name_is_told_once_and_the_rest_of_the_commit_serves(
    host: Host, repository: Repository
) -> None:
    repository.push({**app("shop"), **app("blog")})
    host.follow()
    ours = Listing(origin="/m", files={"/m/shop.yaml": b"path: /srv/shop\n"}, identity=(1, 2))
    host.catalog = review(host.catalog, [ours, Read(host.origin, host.state).read()], host.rules, 0.0)
    assert host.catalog.apps["shop"].source.path == "/srv/shop"
    planned = host.follow()
    assert planned.state == "refused"
    assert planned.message.count("'shop'") == 1
    assert "is described by /m/shop.yaml:1, and a manifest of this host wins" in planned.message
    assert set(host.catalog.apps) == {"blog", "shop"}


def test_how_far_the_commit_in_force_is_behind_and_what_was_fetched_is_measured(
    host: Host, repository: Repository
) -> None:
    repository.push(app("shop"))
    host.follow()
    assert host.facts["behind"] == 0
    before = host.facts["store_bytes"]
    assert before > 0
    for number in (1, 2):
        repository.push(app("shop", "wrokers: 2\n", code=f"{number}\n" * 999))
    assert host.follow().state == "refused"
    assert host.facts["behind"] == 2
    assert host.facts["store_bytes"] > before
    figures = host.figures.as_json()
    assert (figures["refused"], figures["failures"]) == ({"refused": 1}, {})
    assert sum(figures["fetches"]["buckets"]) == 2
    repository.bare.rename(repository.bare.with_name("away"))
    host.follow()
    assert host.figures.as_json()["failures"] == {"not-found": 1}
    assert host.facts["behind"] == 2


def test_a_manifest_that_stays_as_it_is_is_judged_again_once_the_fence_or_what_is_around_it_changes(
    host: Host, repository: Repository
) -> None:
    service = "kind: service\nname: db\ntype: sqlite\n"
    shop = app("shop", "services: [db]\n")
    repository.push({**shop, "hosts/web1/db.yaml": service})
    in_force = HostInForce(lambda: host.catalog, host.rules, {}, lambda: host.services_on_record)
    bound, declared = (
        {"fleet/hosts/web1/shop.yaml": shop["hosts/web1/shop.yaml"]},
        {"fleet/hosts/web1/db.yaml": service},
    )

    def judged(files: Mapping[str, Any]) -> list[str]:
        contents = {file: text.encode() for file, text in files.items()}
        listing = Listing(origin="fleet", files=contents, identity="f" * 40)
        return [problem.path for problem in in_force.trial(host.origin, listing).beyond_fence]

    assert judged({**bound, **declared}) == []
    assert judged({**bound, **declared}) == []
    assert judged(bound) == ["services[0]"], "nothing declares the service any more"
    assert judged({**bound, **declared}) == []
    host.origin = replace(host.origin, may={"apps": "blog"})
    assert judged({**bound, **declared}) == ["name"]
    assert judged({**bound, **declared}) == ["name"]


def test_a_look_that_finds_nothing_new_writes_nothing_but_when_it_was(host: Host, repository: Repository) -> None:
    async def looked(follower: Follower) -> None:
        follower.look_now()
        for _ in range(30):
            if (await follower.step()).action is None:
                return

    def written() -> dict[str, int]:
        files = [path for path in host.state.state.rglob("*") if path.is_file() and not path.is_symlink()]
        return {str(path): path.stat().st_mtime_ns for path in files if path.name not in {"answered", "fleet.lock"}}

    async def story() -> None:
        follower = host.follower()
        await follower.begin()
        await looked(follower)
        await looked(follower)
        before, facts, heard_at = written(), host.facts, follower.record.heard_at
        assert heard_at is not None
        for _ in range(3):
            await looked(follower)
        assert follower.looks == 5
        assert (written(), host.facts is facts) == (before, True)
        assert follower.record.heard_at > heard_at  # type: ignore[operator]
        again = host.follower()
        await again.begin()
        assert again.record.heard_at == pytest.approx(follower.record.heard_at, abs=0.001)

    repository.push(app("shop"))
    asyncio.run(story())
