"""An origin that follows tags, or is one commit: the newest tag counts, and what was accepted is never another one."""

from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.manifests.git.program import Finished, GitProgram
from reconciler.settings.git import Repository as Settings
from tests.contract.test_git_origins import Host, app, host, limited, repository
from tests.support.repository import Repository, signing
from tests.support.signing import Key, make_key

__all__ = ["host", "repository"]


def tag(repository: Repository, name: str, *, key: Key | None = None, force: bool = False) -> None:
    """Tag the newest commit and push the tag: with a text, signed if a key is given."""
    words = [*(["-s"] if key is not None else ["-a"]), *(["-f"] if force else []), "-m", f"Release {name}", name]
    repository.git(*signing(key), "tag", *words)
    push_tag(repository, name)


def push_tag(repository: Repository, name: str) -> None:
    repository.git("push", "-q", "--force", "origin", f"refs/tags/{name}")


@pytest.fixture
def follows_tags(host: Host) -> None:
    host.origin = replace(host.origin, branch="", tags="v*")


@pytest.fixture
def alice(host: Host, tmp_path: Path, follows_tags: None) -> Key:
    """A signer of a host that requires tags to be signed."""
    key, signers = make_key(tmp_path / "alice"), tmp_path / "signers"
    signers.write_text(f"alice@example.com {key.public}\n")
    limited(host, signed="tag", signers=signers)
    return key


@pytest.mark.usefixtures("follows_tags")
def test_the_newest_tag_is_in_force_and_no_commit_without_one(host: Host, repository: Repository) -> None:
    first = repository.push(app("shop"))
    assert host.follow().message == "the repository has no tag like v*; no commit is in force yet"
    tag(repository, "v1.9")
    assert (host.follow().state, host.in_force, host.facts["tag"]) == ("current", first, "v1.9")
    second = repository.push(app("blog"))
    assert (host.follow().state, host.in_force) == ("current", first)
    tag(repository, "v1.10")
    tag(repository, "test-2")
    assert (host.follow().state, host.in_force, host.facts["tag"]) == ("current", second, "v1.10")
    assert ("fetched", f"v1.10 is at commit {second[:7]} \u201cChange it\u201d") in host.events()


@pytest.mark.usefixtures("follows_tags")
def test_a_tag_with_a_separator_of_lines_in_its_name_is_no_other_tag(host: Host, repository: Repository) -> None:
    first = repository.push(app("shop"))
    tag(repository, "v1.9")
    assert host.follow().state == "current"
    repository.push(app("blog"))
    tag(repository, "v2.0\u2028x")
    assert (host.follow().state, host.in_force) == ("current", first)


@pytest.mark.usefixtures("follows_tags")
def test_a_tag_that_was_accepted_and_is_moved_is_refused_until_an_operator_takes_it(
    host: Host, repository: Repository
) -> None:
    first = repository.push(app("shop"))
    tag(repository, "v1")
    host.follow()
    second = repository.push(app("blog"))
    tag(repository, "v1", force=True)
    planned = host.follow()
    assert (planned.state, host.in_force) == ("refused", first)
    assert f"tag v1 was moved from commit {first[:7]} to {second[:7]}" in planned.message
    taken = host.follow(lambda follower: follower.request(lambda record: replace(record, taken=second, verdict=None)))
    assert (taken.state, host.in_force) == ("current", second)


@pytest.mark.usefixtures("follows_tags")
def test_a_tag_that_is_deleted_leaves_its_commit_in_force(host: Host, repository: Repository) -> None:
    repository.push(app("shop"))
    tag(repository, "v1")
    host.follow()
    second = repository.push(app("blog"))
    tag(repository, "v2")
    host.follow()
    repository.git("push", "-q", "origin", "--delete", "refs/tags/v2")
    assert (host.follow().state, host.in_force) == ("rewound", second)
    repository.git("push", "-q", "origin", "--delete", "refs/tags/v1")
    assert (host.follow().state, host.in_force) == ("missing", second)


def test_a_signed_tag_is_accepted_whoever_signed_its_commits(host: Host, repository: Repository, alice: Key) -> None:
    commit = repository.push(app("shop"))
    tag(repository, "v1", key=alice)
    assert (host.follow().state, host.in_force) == ("current", commit)
    assert host.facts["signed_by"].startswith("alice@example.com (SHA256:")


def test_a_tag_without_a_signature_or_a_text_is_refused_until_it_is_signed(
    host: Host, repository: Repository, alice: Key, tmp_path: Path
) -> None:
    first = repository.push(app("shop"))
    tag(repository, "v1", key=alice)
    host.follow()
    second = repository.push(app("blog"))
    repository.git("tag", "v2")
    push_tag(repository, "v2")
    assert "tag v2 has no text that could be signed" in host.follow().message
    tag(repository, "v2", force=True)
    assert "tag v2 is not signed" in host.follow().message
    tag(repository, "v2", key=make_key(tmp_path / "mallory"), force=True)
    assert (host.follow().state, host.in_force) == ("refused", first)
    tag(repository, "v2", key=alice, force=True)
    assert (host.follow().state, host.in_force) == ("current", second)


def test_a_signed_tag_under_another_name_is_refused(host: Host, repository: Repository, alice: Key) -> None:
    first = repository.push(app("shop"))
    tag(repository, "v1", key=alice)
    host.follow()
    repository.push(app("blog"))
    repository.git(*signing(alice), "tag", "-s", "-m", "A trial", "trial")
    repository.git("push", "-q", "origin", "refs/tags/trial:refs/tags/v2")
    planned = host.follow()
    assert (planned.state, host.in_force) == ("refused", first)
    assert "tag v2 is named 'trial' in what is signed" in planned.message


def test_a_signed_tag_that_is_replaced_by_a_name_alone_is_told_and_stays_in_force(
    host: Host, repository: Repository, alice: Key
) -> None:
    commit = repository.push(app("shop"))
    tag(repository, "v1", key=alice)
    host.follow()
    repository.git("tag", "-f", "v1", commit)
    push_tag(repository, "v1")
    assert (host.follow().state, host.in_force) == ("refused", commit)


class HostileServer(GitProgram):
    """Git at a server that lists a tag that was signed, and sends an unsigned commit under its name."""

    def __init__(self, home: Path, server: Repository, sent: str) -> None:
        super().__init__(home)
        self._server, self._sent = server, sent

    async def tags(self, store: Path, repository: Settings, url: str, pattern: str) -> Finished:
        listed = await super().tags(store, repository, url, pattern)
        self._server.git("update-ref", "refs/tags/v1", self._sent, at=self._server.bare)
        return listed


def test_a_server_that_sends_another_commit_than_that_of_the_signed_tag_that_it_lists_changes_nothing(
    host: Host, repository: Repository, alice: Key
) -> None:
    repository.push(app("shop"))
    tag(repository, "v1", key=alice)
    host.follow()
    second = repository.push(app("blog"))
    tag(repository, "v2", key=alice)
    host.follow()
    unsigned = repository.push(app("evil"))
    repository.git("push", "-q", "origin", "--delete", "refs/tags/v2")
    host.git = lambda home: HostileServer(home, repository, unsigned)
    planned = host.follow()
    assert host.in_force == second
    assert planned.action is None
    assert host.failure is not None
    assert "sent another object as tag v1 than it had listed" in host.failure.why
    assert host.facts["head"] == second


def test_one_commit_of_the_settings_is_in_force_whatever_is_pushed(host: Host, repository: Repository) -> None:
    first = repository.push(app("shop"))
    second = repository.push(app("blog"))
    host.origin = replace(host.origin, branch="", commit=second)
    assert (host.follow().state, host.in_force) == ("current", second)
    repository.push(app("more"))
    repository.bare.rename(repository.bare.with_name("away"))
    assert (host.follow().state, host.in_force) == ("current", second)
    repository.bare.with_name("away").rename(repository.bare)
    host.origin = replace(host.origin, commit=first)
    assert (host.follow().state, host.in_force) == ("current", first), "an operator may go back"


def test_a_repository_that_is_not_asked_for_a_commit_that_is_here_counts_as_silent(
    host: Host, repository: Repository
) -> None:
    host.origin = replace(host.origin, branch="", commit=repository.push(app("shop")))
    host.follow()
    heard_at = host.facts["heard_at"]
    assert heard_at is not None
    repository.bare.rename(repository.bare.with_name("away"))
    assert host.follow().state == "current"
    assert host.facts["heard_at"] == heard_at


def test_a_commit_of_the_settings_that_is_something_else_is_named_as_such(host: Host, repository: Repository) -> None:
    repository.push(app("shop"))
    tree = repository.git("rev-parse", "HEAD^{tree}")
    host.origin = replace(host.origin, branch="", commit=tree)
    assert host.follow().message == f"commit {tree[:7]} leads to no commit; no commit is in force yet"


def test_a_commit_that_the_repository_does_not_have_changes_nothing(host: Host, repository: Repository) -> None:
    first = repository.push(app("shop"))
    host.follow()
    host.origin = replace(host.origin, branch="", commit="1" * 40)
    planned = host.follow()
    assert (planned.state, host.in_force) == ("missing", first)
    assert "has no commit 1111111" in planned.message
