"""A source in git goes by the waves of a fleet only where an origin follows the same branch."""

from reconciler.manifests.git.source_origin import leader_of
from reconciler.planning.apps.git_source import Followed
from reconciler.settings.git import GitOrigin, Repository


def test_only_the_branch_of_an_origin_is_taken_in_waves() -> None:
    fleet = Repository(name="fleet", urls=("/srv/fleet.git",))
    origins = (
        GitOrigin(name="prod", repository=fleet, host="web1", branch="prod"),
        GitOrigin(name="hosts", repository=fleet, host="web1", branch="main"),
    )
    assert leader_of(Followed(repository="fleet", branch="main"), origins) == "hosts"
    assert not leader_of(Followed(repository="fleet", branch="dev"), origins)
    assert not leader_of(Followed(repository="code", branch="main"), origins)
    assert not leader_of(Followed(repository="fleet", tag="v1"), origins)
    assert not leader_of(Followed(repository="fleet", commit="a" * 40), origins)
