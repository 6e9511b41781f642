"""A signer changes what the scopes of the settings allow, and a commit that changes more never takes effect."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.contract.test_git_origins import Host, app, host, limited, repository
from tests.contract.test_git_tags import tag
from tests.support.repository import Repository, signing
from tests.support.signing import Key, make_key

__all__ = ["host", "repository"]

SCOPES = {
    "alice@example.com": "all",
    "bob@example.com": {"apps": "shop-*"},
    "bot@example.com": {"fields": ["workers", "files.path"]},
}


@dataclass(frozen=True, slots=True)
class Team:
    """Who signs: Alice may change all, Bob the apps of the shop, and a bot some fields."""

    alice: Key
    bob: Key
    bot: Key
    carol: Key


@pytest.fixture
def team(host: Host, repository: Repository, tmp_path: Path) -> Team:
    """The signers of a host on which Alice's first commit, with two apps, is in force, and where trust begins."""
    keys = {name: make_key(tmp_path / name) for name in ("alice", "bob", "bot", "carol")}
    file = tmp_path / "signers"
    file.write_text("".join(f"{name}@example.com {key.public}\n" for name, key in keys.items()))
    first = repository.push({**app("shop-web"), **app("blog")}, key=keys["alice"])
    limited(host, signed="every", signers=file, scopes=SCOPES, first=first)
    assert host.follow().state == "current"
    return Team(**keys)


def scoped(host: Host, scopes: Mapping[str, object]) -> None:
    limited(host, scopes=scopes)


def test_a_signer_changes_adds_and_removes_the_apps_of_their_scope(
    host: Host, repository: Repository, team: Team
) -> None:
    repository.push(app("shop-web", "workers: 2\n", "application = 2\n"), key=team.bob)
    repository.push(app("shop-api"), key=team.bob)
    assert host.follow().state == "current"
    last = repository.push({"hosts/web1/shop-api.yaml": None}, key=team.bob)
    assert host.follow().state == "current"
    assert (host.in_force, sorted(host.catalog.apps)) == (last, ["blog", "shop-web"])


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (app("blog", "workers: 2\n"), "changes blog"),
        (app("blog", code="application = 2\n"), "changes blog"),
        (app("news"), "adds news"),
        ({"hosts/web1/blog.yaml": None}, "changes blog"),
        ({"hosts/web1/shop-db.yaml": "kind: service\nname: shop-db\ntype: sqlite\n"}, "adds service shop-db"),
        ({"hosts/web1/shop-web.yaml": "name: blog\npath: ../../apps/blog\n"}, "changes blog"),
    ],
)
def test_a_commit_that_changes_more_is_refused_and_says_what_its_signer_may_not_do(
    host: Host, repository: Repository, team: Team, files: dict[str, str | bytes | None], said: str
) -> None:
    before = host.in_force
    commit = repository.push(files, key=team.bob)
    planned = host.follow()
    assert (planned.state, host.in_force) == ("refused", before)
    assert planned.message == (
        f"commit {commit[:7]} is signed by bob@example.com, whose scope does not allow it: it {said}; commit"
        f" {str(before)[:7]} stays in force"
    )


def test_what_lies_beside_the_manifests_of_a_host_is_no_change_of_it(
    host: Host, repository: Repository, team: Team
) -> None:
    repository.push({"README.md": "text", "hosts/web2/blog.yaml": "path: x\n", "apps/other/x.py": ""}, key=team.bob)
    assert host.follow().state == "current"


def test_what_a_link_in_the_code_of_an_app_leads_to_is_the_code_of_that_app(
    host: Host, repository: Repository, team: Team
) -> None:
    (repository.work / "apps/blog/shared").symlink_to("../shop-web")
    repository.push({}, key=team.alice)
    assert host.follow().state == "current"
    repository.push(app("shop-web", code="application = 2\n"), key=team.bob)
    assert "it changes blog" in host.follow().message


def test_a_signer_of_some_fields_changes_those_and_the_code_if_that_is_one(
    host: Host, repository: Repository, team: Team
) -> None:
    repository.push(app("blog", "workers: 3\n", "application = 3\n"), key=team.bot)
    assert host.follow().state == "current"
    commit = repository.push(app("blog", "workers: 3\nthreads: 2\n", "application = 3\n"), key=team.bot)
    assert f"commit {commit[:7]} is signed by bot@example.com" in host.follow().message
    assert "it changes blog (threads)" in host.follow().message
    scoped(host, {**SCOPES, "bot@example.com": {"fields": ["workers"], "apps": "blog"}})
    repository.git("reset", "-q", "--hard", "HEAD~1")
    repository.commit(app("blog", "workers: 4\n", "application = 4\n"), key=team.bot)
    repository.git("push", "-q", "--force", "origin", "HEAD:main")
    assert "it changes blog (files.path)" in host.follow().message


def test_a_signer_without_a_scope_is_refused_and_a_pattern_gives_one(
    host: Host, repository: Repository, team: Team
) -> None:
    repository.push({"README.md": "x"}, key=team.carol)
    assert "carol@example.com, to whom 'scopes' gives none" in host.follow().message
    scoped(host, {**SCOPES, "*@example.com": {"apps": "news"}})
    assert host.follow().state == "current"
    repository.push(app("news"), key=team.carol)
    assert host.follow().state == "current"


def test_each_commit_is_held_to_its_own_signer_however_it_arrives(
    host: Host, repository: Repository, team: Team
) -> None:
    before = host.in_force
    repository.git("checkout", "-q", "-b", "work")
    commit = repository.commit(app("blog", "workers: 2\n"), key=team.bob)
    repository.git("checkout", "-q", "main")
    repository.commit({"README.md": "x"}, key=team.alice)
    repository.git(*signing(team.alice), "merge", "-q", "--no-ff", "-m", "Merge", "work")
    repository.git("push", "-q", "origin", "HEAD:main")
    planned = host.follow()
    assert (planned.state, host.in_force) == ("refused", before)
    assert planned.message.startswith(f"commit {commit[:7]} is signed by bob@example.com")
    limited(host, signed="head")
    assert host.follow().state == "current", "who signs the newest commit answers for all"


def test_a_change_that_is_undone_before_it_is_fetched_is_refused_all_the_same(
    host: Host, repository: Repository, team: Team
) -> None:
    """Nobody but its signer answers for it, and the next commit may build on it."""
    repository.commit(app("blog", "workers: 2\n"), key=team.bob)
    repository.push(app("blog"), key=team.bob)
    assert host.follow().state == "refused"


def test_a_fresh_host_judges_all_that_was_changed_since_trust_began(
    host: Host, repository: Repository, team: Team
) -> None:
    repository.push(app("blog", "workers: 2\n"), key=team.bob)
    repository.push({"README.md": "x"}, key=team.alice)
    host.state = replace(host.state, state=host.state.state / "fresh")
    host.state.state.mkdir()
    assert host.follow().state == "refused"
    assert host.in_force is None


def test_an_operator_can_take_a_commit_whatever_its_signer_may_change(
    host: Host, repository: Repository, team: Team
) -> None:
    commit = repository.push(app("blog", "workers: 2\n"), key=team.bob)
    assert host.follow().state == "refused"
    taken = host.follow(lambda follower: follower.request(lambda record: replace(record, taken=commit, verdict=None)))
    assert (taken.state, host.in_force) == ("current", commit)


def test_who_signs_a_tag_answers_for_all_that_is_new_with_it(host: Host, repository: Repository, team: Team) -> None:
    limited(host, signed="tag")
    host.origin = replace(host.origin, branch="", tags="v*")
    repository.push(app("blog", "workers: 2\n"))
    tag(repository, "v1", key=team.bob)
    assert "it changes blog" in host.follow().message
    tag(repository, "v2", key=team.alice)
    assert host.follow().state == "current"


def test_a_second_manifest_of_one_name_is_a_change_of_it(host: Host, repository: Repository, team: Team) -> None:
    """Otherwise it would take effect once the first one is removed, by whom its author is not held to."""
    host.origin = replace(host.origin, whole=False)
    repository.push({"hosts/web1/zz.yaml": "name: blog\npath: ../../apps/shop-web\n"}, key=team.bob)
    assert "it changes blog" in host.follow().message


def test_a_commit_in_force_stays_so_when_the_scopes_change(host: Host, repository: Repository, team: Team) -> None:
    commit = repository.push(app("shop-web", "workers: 2\n"), key=team.bob)
    host.follow()
    scoped(host, {"alice@example.com": "all"})
    assert (host.follow().state, host.in_force) == ("current", commit)


def linked(repository: Repository, places: Mapping[str, str]) -> None:
    """Put symbolic links into the work tree."""
    for place, target in places.items():
        path = repository.work / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target)


def test_what_links_of_an_app_lead_to_is_a_part_of_it(host: Host, repository: Repository, team: Team) -> None:
    """Otherwise its code and its variables are changed by whoever may not."""
    linked(repository, {"apps/blog/web": "../shop-web", "hosts/web1/blog.env": "shared.env"})
    files = {**app("blog", "env_files: [blog.env]\n"), "hosts/web1/shared.env": "A=1\n"}
    repository.push(files, key=team.alice)
    planned = host.follow()
    assert planned.state == "current", planned.message
    for change in (app("shop-web", "", "application = 2\n"), {"hosts/web1/shared.env": "A=2\n"}):
        repository.push(change, key=team.bob)
        assert "it changes blog" in host.follow().message
        repository.git("reset", "-q", "--hard", "HEAD~1")
        repository.git("push", "-q", "--force", "origin", "HEAD:main")


def test_files_that_names_with_dots_or_a_list_name_are_told_apart(
    host: Host, repository: Repository, team: Team
) -> None:
    scoped(host, {**SCOPES, "bob@example.com": {"services": "*"}, "bot@example.com": {"fields": "files.env_files"}})
    credentials = "  a.file: {file: y}\n  A=1: {file: x}\n  a: {file: x}\n"
    service = f"kind: service\nname: creds\ntype: user-provided\ncredentials:\n{credentials}"
    repository.push({"hosts/web1/creds.yaml": service, "hosts/web1/x": "1", "hosts/web1/y": "2"}, key=team.bob)
    planned = host.follow()
    assert planned.state == "current", planned.message
    repository.push({**app("blog", "env_files: [blog.env]\n"), "hosts/web1/blog.env": "A=1\n"}, key=team.alice)
    repository.push({"hosts/web1/blog.env": "A=2\n"}, key=team.bot)
    assert host.follow().state == "current"


def test_a_mistake_beside_an_app_of_another_is_a_change_of_that(host: Host, repository: Repository, team: Team) -> None:
    """A file with a mistake defines nothing, so that what its owner changes next would not take effect."""
    host.origin = replace(host.origin, whole=False)
    both = {"hosts/web1/both.yaml": "name: news\npath: ../../apps/blog\n---\nname: shop-x\npath: ../../apps/blog\n"}
    repository.push(both, key=team.alice)
    assert host.follow().state == "current"
    repository.push({name: f"{text}wrong: 1\n" for name, text in both.items()}, key=team.bob)
    assert "it changes news" in host.follow().message


def test_what_is_told_of_a_hostile_commit_is_one_short_line(host: Host, repository: Repository, team: Team) -> None:
    files = {f"hosts/web1/a{number}.yaml": f'name: "{number}\\e[31m{"x" * 300}"\npath: x\n' for number in range(9)}
    repository.push(files, key=team.bob)
    told = host.follow().message
    assert told.isprintable()
    assert "and 6 more" in told
    assert len(told) < 1500


def test_the_fleet_is_changed_by_a_signer_of_everything_alone(host: Host, repository: Repository, team: Team) -> None:
    """Whoever empties its waves, or adds a host with a key of their own, decides when hosts take what others change."""
    scoped(host, {**SCOPES, "bob@example.com": {"apps": "*", "services": "*"}})
    fleet = f"kind: fleet\nhosts:\n  web1: {{key: {team.carol.public}}}\n"
    repository.push({"fleet.yaml": fleet + "waves: [{name: all}]\n"}, key=team.alice)
    planned = host.follow()
    assert planned.state == "current", planned.message
    repository.push({"fleet.yaml": fleet + "waves: [{name: all, well_for: 1h}]\n"}, key=team.bob)
    assert "it changes fleet.yaml" in host.follow().message
