"""`validate --git`, `plan --commit` and the daemon say the same of every commit, for every host."""

import os
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.inspection.commit_plans import CommitPlan, commit_plan
from reconciler.inspection.committed import Judged, judged
from reconciler.inspection.snapshot import HostSnapshot
from reconciler.manifests.git import record as records
from reconciler.manifests.git.record import Record
from reconciler.settings.git import GitOrigin
from reconciler.settings.git import Repository as Fetched
from reconciler.settings.git_file import at_host
from reconciler.settings.settings import Settings
from reconciler.state.journal import Journal
from reconciler.state.paths import StatePaths
from reconciler.state.schema import open_database
from tests.contract.test_git_origins import Host
from tests.support.repository import Repository

NIGHTLY = os.environ.get("RECONCILER_TESTS") == "nightly"
PARTS = 20 if NIGHTLY else 1
COMMITS = 10 if NIGHTLY else 1  # of one repository: each has what it has, whatever the one before had

NAMES = ("shop", "blog", "api")
MANIFESTS = (
    "path: ../../apps/shop\n",
    "path: ../../apps/shop\nport: 8090\n",
    "name: shop\npath: ../../apps/blog\n",
    "path: ../../apps/shop\ndepends_on: [blog]\n",
    "path: ../../apps/shop\nservices: [db]\n",
    "kind: service\nname: db\ntype: sqlite\n",
    "path: ../../apps/shop\nworker: 2\n",
    "path: [\n",
    "path: /srv/shop\n",
    "path: ../../apps/shop\nport: 9000\n",
    "path: ../../apps/shop\nenv: {KEY: {file: /etc/shadow}}\n",
    "path: ../../../out\n",
)
MANIFEST = st.sampled_from(MANIFESTS)
COMMIT = st.fixed_dictionaries(
    {},
    optional={
        **{f"hosts/web1/{name}.yaml": st.none() | MANIFEST for name in NAMES},
        "all/base.yaml": st.none() | MANIFEST,
        "apps/shop/wsgi.py": st.sampled_from(("application = 1\n", "application = 2\n")),
        "apps/shop/data": st.sampled_from(("x", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n")),
        "apps/CON": st.just("x"),
    },
)


FIRST = {"hosts/web1/first.yaml": "path: ../../apps/shop\n", "apps/shop/wsgi.py": "application = 0\n"}


@dataclass(frozen=True, slots=True)
class Place:
    """A repository, and a host that follows it."""

    repository: Repository
    host: Host

    @property
    def settings(self) -> Settings:
        ports = self.host.rules.ports
        manifests = self.host.state.state / "manifests"
        return Settings(
            manifests=manifests, paths=self.host.state, origins=(self.host.origin,),
            first_port=ports.start, last_port=ports.stop - 1,
        )  # fmt: skip

    def push(self, files: Mapping[str, str]) -> str:
        return self.repository.push(files)

    def push_generated(self, files: Mapping[str, str | None]) -> str:
        """Push a commit with these files alone, and the first ones; None stands for none."""
        wanted = {name: text for name, text in {**FIRST, **files}.items() if text is not None}
        there = frozenset(self.repository.git("ls-files").splitlines())
        return self.repository.push({**dict.fromkeys(there - wanted.keys()), **wanted})

    def validated(self, ref: str) -> Judged:
        return judged(self.settings, self.host.origin, self.repository.bare, ref)

    def planned(self, ref: str) -> CommitPlan:
        with (
            closing(HostSnapshot(self.host.state)) as snapshot,
            commit_plan(self.settings, snapshot, self.host.origin, ref) as found,
        ):
            return found

    def record(self) -> Record:
        return records.read(self.host.state.origin("fleet") / "record.json")


@contextmanager
def place(*, host: str = "web1", branch: str = "main", whole: bool = True, root: Path | None = None) -> Iterator[Place]:
    with TemporaryDirectory() as scratch:
        top = root or Path(scratch)
        repository = Repository(top / "fleet.git", top / "fleet-work") if root else Repository.at(top)
        fetched = Fetched(name="fleet", urls=(str(repository.bare),), signed="no", timeout_s=300)
        paths = ("all", "hosts/{host}")
        origin = GitOrigin(name="fleet", repository=fetched, branch=branch, host=host, whole=whole, templates=paths)
        state = StatePaths(state=Path(scratch, "state"))
        (state.state / "manifests").mkdir(parents=True)
        with closing(open_database(state.database)) as database:
            yield Place(repository, Host(state, at_host(origin, host), Journal(database)))


def names(plan: CommitPlan) -> tuple[list[str], list[str]]:
    return sorted(plan.catalog.apps), sorted(plan.catalog.services)


@pytest.mark.parametrize("part", range(PARTS))
@settings(
    max_examples=5 if NIGHTLY else 4,
    deadline=None,
    derandomize=not NIGHTLY,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(commits=st.lists(COMMIT, min_size=COMMITS, max_size=COMMITS), whole=st.booleans())
def test_the_daemon_plan_and_validate_agree_on_every_commit(
    part: int, commits: list[dict[str, str | None]], whole: bool
) -> None:
    with place(whole=whole) as here:
        here.push_generated({})
        here.host.follow()
        for files in commits:
            commit = here.push_generated(files)
            said, planned = here.validated(commit), here.planned("main")
            here.host.follow()
            verdict = here.record().verdict
            assert verdict is not None
            assert (planned.commit.id, planned.ruling, planned.why) == (commit, verdict.ruling, verdict.why)
            if verdict.ruling in {"held", "missing"}:
                continue  # what is removed is judged by what is in force, of which a repository knows nothing
            assert (said.commit.id, bool(said.refusal)) == (commit, verdict.ruling != "accepted"), said.refusal
            assert said.refusal.replace(commit, "") == verdict.why.replace(commit, "")
            if verdict.ruling == "accepted":
                catalog = here.host.catalog
                assert names(planned) == (sorted(catalog.apps), sorted(catalog.services))
                assert set(said.apps) <= catalog.apps.keys()
                if whole:
                    assert ([*said.apps], [*said.services]) == names(planned)


def test_each_host_has_what_validate_says_of_its_branch_and_its_directories(tmp_path: Path) -> None:
    repository = Repository.at(tmp_path)
    shop = {"apps/shop/wsgi.py": "application = 1\n", "all/base.yaml": "path: ../apps/shop\n"}
    repository.push({**shop, "hosts/web1/shop.yaml": "path: ../../apps/shop\n", "hosts/web2/db.yaml": MANIFESTS[5]})
    repository.git("checkout", "-q", "-b", "staging")
    repository.commit({"hosts/web1/blog.yaml": MANIFESTS[1], "hosts/web3/x.yaml": "path: [\n"})
    repository.git("push", "-q", "origin", "HEAD:staging")
    found = {}
    for branch in ("main", "staging"):
        for name in ("web1", "web2", "web3"):
            with place(host=name, branch=branch, root=tmp_path) as here:
                state = here.host.follow().state
                said = here.validated(branch)
                assert (state == "current") == (not said.refusal)
                assert (sorted(here.host.catalog.apps), sorted(here.host.catalog.services)) == (
                    [*said.apps], [*said.services],
                )  # fmt: skip
                found[branch, name] = (*said.apps, *said.services) if not said.refusal else said.errors[0].file
    assert found == {
        ("main", "web1"): ("base", "shop"),
        ("main", "web2"): ("base", "db"),
        ("main", "web3"): ("base",),
        ("staging", "web1"): ("base", "blog", "shop"),
        ("staging", "web2"): ("base", "db"),
        ("staging", "web3"): "hosts/web3/x.yaml",
    }


def test_a_plan_for_a_commit_names_the_revision_that_the_daemon_wants_once_it_is_in_force(tmp_path: Path) -> None:
    with place() as here:
        # A port of its own: which one is free may change between two plans.
        manifest = "path: ../../apps/shop\nport: 8090\n"
        here.push({"hosts/web1/shop.yaml": manifest, "apps/shop/wsgi.py": "application = 1\n"})
        here.host.follow()
        commit = here.push({"apps/shop/wsgi.py": "application = 2\n"})
        before = sorted(here.host.state.state.rglob("*"))
        planned = here.planned("main")
        assert sorted(here.host.state.state.rglob("*")) == before, "nothing is changed"
        (then,) = planned.plans
        here.host.follow()
        (now,) = here.planned(commit[:8]).plans
        assert then.plan is not None
        assert now.plan is not None
        assert then.plan.wanted == now.plan.wanted
        assert [str(action) for action in then.actions] == [str(action) for action in now.actions]


def test_a_branch_that_nobody_fetched_is_planned_for_and_one_that_the_daemon_would_not_accept_is_named(
    tmp_path: Path,
) -> None:
    with place() as here:
        first = here.push({"hosts/web1/shop.yaml": "path: ../../apps/shop\n", "apps/shop/wsgi.py": "x = 1\n"})
        here.host.follow()
        here.repository.commit({"hosts/web1/blog.yaml": "path: ../../apps/shop\n"})
        here.repository.git("push", "-q", "origin", "HEAD:review/blog")
        assert [str(each.subject) for each in here.planned("review/blog").plans] == ["blog", "shop"]
        here.repository.git("checkout", "-q", "--orphan", "other")
        here.repository.git("commit", "-q", "--allow-empty", "-m", "Other")
        here.repository.git("push", "-q", "origin", "HEAD:other")
        planned = here.planned("other")
        assert planned.ruling == "rewound"
        assert f"does not descend from {first[:7]}" in planned.why
        here.host.origin = replace(here.host.origin, repository=replace(here.host.origin.repository, signed="every"))
        assert here.planned("review/blog").ruling == "refused"
