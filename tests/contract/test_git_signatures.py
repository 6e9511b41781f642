"""Only what the signers of a repository signed takes effect, with their keys as they are now."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.contract.test_git_origins import Host, app, host, limited, repository
from tests.support.repository import Repository, signing
from tests.support.signing import Key, make_key

__all__ = ["host", "repository"]


@pytest.fixture
def alice(tmp_path: Path) -> Key:
    return make_key(tmp_path / "alice")


@pytest.fixture
def signers(host: Host, tmp_path: Path, alice: Key) -> Path:
    """The file of the signers of a host that requires every commit to be signed."""
    file = tmp_path / "signers"
    file.write_text(f"alice@example.com {alice.public}\n")
    limited(host, signed="every", signers=file)
    return file


def test_a_signed_commit_is_accepted_and_its_signer_is_told_by_the_key_alone(
    host: Host, repository: Repository, signers: Path, alice: Key
) -> None:
    repository.git("config", "user.name", "Bob")
    commit = repository.push(app("shop"), key=alice)
    assert host.follow().state == "current"
    assert host.in_force == commit
    assert host.facts["signed_by"].startswith("alice@example.com (SHA256:")
    (accepted,) = (text for kind, text in host.events() if kind == "accepted")
    assert accepted.endswith(f"is accepted, signed by {host.facts['signed_by']}")


def test_an_unsigned_commit_and_one_of_a_stranger_change_nothing(
    host: Host, repository: Repository, signers: Path, alice: Key, tmp_path: Path
) -> None:
    commit = repository.push(app("shop"), key=alice)
    host.follow()
    unsigned = repository.push(app("blog"))
    planned = host.follow()
    assert planned.state == "refused"
    assert planned.message.startswith(f"commit {unsigned[:7]} is not signed")
    repository.git("reset", "-q", "--hard", commit)
    repository.git("push", "-q", "--force", "origin", "HEAD:main")
    repository.push(app("blog"), 'Good "git" signature\n\n[GNUPG:] VALIDSIG x', key=make_key(tmp_path / "mallory"))
    assert host.follow().state == "refused"
    assert host.in_force == commit
    taken = repository.git("rev-parse", "HEAD")
    planned = host.follow(lambda follower: follower.request(lambda record: replace(record, taken=taken, verdict=None)))
    assert planned.state == "refused", "an operator can take a commit whatever its history, but not an unsigned one"


@pytest.mark.parametrize("signed", ["every", "head"])
def test_unsigned_work_behind_a_signed_merge_is_refused_where_every_commit_counts(
    host: Host, repository: Repository, signers: Path, alice: Key, signed: str
) -> None:
    limited(host, signed=signed)
    commit = repository.push(app("shop"), key=alice)
    host.follow()
    repository.git("checkout", "-q", "-b", "work")
    unsigned = repository.commit(app("blog"))
    repository.git("checkout", "-q", "main")
    repository.git(*signing(alice), "merge", "-q", "--no-ff", "-m", "Merge", "work")
    repository.git("push", "-q", "origin", "HEAD:main")
    planned = host.follow()
    if signed == "head":
        assert planned.state == "current"
        return
    assert planned.message.startswith(f"commit {unsigned[:7]} is not signed")
    assert host.in_force == commit


def test_a_key_that_has_ended_signs_nothing_even_dated_back(
    host: Host, repository: Repository, signers: Path, alice: Key
) -> None:
    signers.write_text(f'alice@example.com valid-before="20250101Z" {alice.public}\n')
    repository.push(app("shop"), key=alice, at="2024-06-01T12:00:00Z")
    planned = host.follow()
    assert planned.state == "refused"
    assert host.in_force is None


def test_a_key_that_is_removed_is_told_at_the_next_look_and_a_commit_of_a_good_one_ends_that(
    host: Host, repository: Repository, signers: Path, alice: Key, tmp_path: Path
) -> None:
    commit = repository.push(app("shop"), key=alice)
    host.follow()
    carol = make_key(tmp_path / "carol")
    signers.write_text(f"carol@example.com {carol.public}\n")
    planned = host.follow()
    assert planned.state == "refused"
    assert planned.message.startswith(f"commit {commit[:7]} ")
    assert planned.message.endswith(f"; commit {commit[:7]} stays in force")
    assert set(host.catalog.apps) == {"shop"}
    newest = repository.push(app("blog"), key=carol)
    assert host.follow().state == "current"
    assert host.in_force == newest
    assert host.facts["signed_by"].startswith("carol@example.com")


def test_a_file_of_signers_with_a_mistake_is_refused_as_a_whole_with_its_line(
    host: Host, repository: Repository, signers: Path, alice: Key
) -> None:
    signers.write_text(f'alice@example.com valid-after="20200101", namespaces="git" {alice.public}\n')
    repository.push(app("shop"), key=alice)
    planned = host.follow()
    assert planned.state == "refused"
    assert f"the file of signers cannot be used: {signers}:1:" in planned.message


def test_a_fresh_host_judges_every_commit_from_the_one_that_trust_begins_with(
    host: Host, repository: Repository, signers: Path, alice: Key
) -> None:
    first = repository.push(app("shop"), key=alice)
    limited(host, first=first)
    unsigned = repository.push(app("blog"))
    repository.push(app("wiki"), key=alice)
    planned = host.follow()
    assert planned.message.startswith(f"commit {unsigned[:7]} is not signed")
    repository.git("reset", "-q", "--hard", first)
    newest = repository.commit(app("wiki"), key=alice)
    repository.git("push", "-q", "--force", "origin", "HEAD:main")
    assert host.follow().state == "current"
    assert host.in_force == newest


def merge_of_older_branch(repository: Repository, host: Host, alice: Key, files: dict[str, str | bytes | None]) -> str:
    """Have a host accept a signed commit, and merge a signed branch that began before it; the merge that is pushed.

    The host's first fetch brings one commit. With the branch, the server sends all that was before it: commits of a
    time before there were keys, one of which allowed removals then.
    """
    repository.commit(files, "Long before\n\nReconciler-Removes: 30 apps")
    repository.commit({}, "Before there were keys")
    repository.git("branch", "work")
    repository.commit({}, "Sign from now on", key=alice)
    repository.push({}, key=alice)
    assert host.follow().state == "current"
    repository.git("checkout", "-q", "work")
    repository.commit({}, "Begun earlier", key=alice)
    repository.git("checkout", "-q", "main")
    repository.git(*signing(alice), "merge", "-q", "--no-ff", "-m", "Merge", "work")
    repository.git("push", "-q", "origin", "HEAD:main")
    return repository.git("rev-parse", "HEAD")


def test_what_is_older_than_the_accepted_commit_is_not_judged_with_a_merge_of_an_older_branch(
    host: Host, repository: Repository, signers: Path, alice: Key
) -> None:
    merge = merge_of_older_branch(repository, host, alice, {**app("shop")})
    assert host.follow().state == "current"
    assert host.in_force == merge


def test_a_trailer_of_long_ago_allows_no_removal_with_a_merge_of_an_older_branch(
    host: Host, repository: Repository, signers: Path, alice: Key
) -> None:
    names = ("a", "b", "c", "d", "e", "f")
    apps: dict[str, str | bytes | None] = {file: text for name in names for file, text in app(name).items()}
    merge_of_older_branch(repository, host, alice, apps)
    repository.push({f"hosts/web1/{name}.yaml": None for name in names[1:]}, key=alice)
    assert host.follow().state == "held"


def test_the_first_commit_may_be_named_once_the_newest_was_fetched(
    host: Host, repository: Repository, signers: Path, alice: Key
) -> None:
    first = repository.push(app("shop"), key=alice)
    repository.push({}, key=alice)
    signers.write_text("nonsense\n")
    assert host.follow().state == "refused"
    signers.write_text(f"alice@example.com {alice.public}\n")
    limited(host, first=first)
    assert host.follow().state == "current"


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("fields", ["env: {X: {file: /etc/passwd}}\n", "host: 0.0.0.0\n", "holding_page: ../../../x\n"])
def test_a_manifest_outside_the_fence_refuses_its_commit_also_where_other_mistakes_refuse_a_file(
    host: Host, repository: Repository, fields: str, whole: bool
) -> None:
    host.origin = replace(host.origin, whole=whole)
    commit = repository.push(app("blog"))
    host.follow()
    repository.push(app("shop", fields))
    planned = host.follow()
    assert (planned.state, host.in_force, set(host.catalog.apps)) == ("refused", commit, {"blog"})
    assert "fleet/hosts/web1/shop.yaml:2:" in planned.message


def test_a_message_of_many_megabytes_is_refused_before_it_is_read(host: Host, repository: Repository) -> None:
    commit = repository.push(app("shop"))
    host.follow()
    huge = b"Subject\n\n" + b"a" * (17 * 1024 * 1024)
    large = repository.git("commit-tree", "HEAD^{tree}", "-p", "HEAD", given=huge)
    repository.git("push", "-q", "origin", f"{large}:main")
    planned = host.follow()
    assert (planned.state, host.in_force) == ("refused", commit)
    assert planned.message.startswith(f"commit {large[:7]} is larger than 16 MiB, which is the limit")
