"""A manifest that does not parse any more counts as it last was for a moment; one that parses is acted on at once."""

from collections.abc import Sequence

from reconciler.manifests.app_document import HostDefaults
from reconciler.manifests.catalog import Catalog, Rules, review
from reconciler.manifests.half_written import HalfWritten
from reconciler.manifests.origin import Listing, Look

RULES = Rules(host=HostDefaults(), ports=range(20000, 20100), is_free=lambda host, port: True, prune_after_s=30)
WHOLE, BETTER, HALF, LONGER = "path: x\nworkers: 2", "path: x\nworkers: 3", "path: x\nwork", "path: x\nworkers"


def listing(**files: str | None) -> list[Look]:
    """Files by their stem; None is one that cannot be read."""
    found = {f"/m/{stem}.yaml": "cannot be read" if text is None else text.encode() for stem, text in files.items()}
    return [Listing(origin="/m", files=found, identity=(1, 1))]


class Followed:
    """What is in force after each look, as the daemon follows it."""

    def __init__(self, looks: Sequence[Look]) -> None:
        self.half_written = HalfWritten(quiet_s=1.0, longest_s=5.0)
        self.catalog = review(Catalog(), looks, RULES, 0.0)

    @property
    def due_at(self) -> float | None:
        return self.half_written.due_at

    def at(self, now: float, **files: str | None) -> dict[str, list[str]]:
        """The problems of each file after a look at this moment."""
        looks = listing(**files)
        after = review(self.catalog, looks, RULES, now)
        settled = self.half_written.held_back(self.catalog, after, looks, now)
        self.catalog = after if settled is looks else review(self.catalog, settled, RULES, now)
        return {file: [each.message for each in entry.problems] for file, entry in self.catalog.files.items()}


def test_what_is_half_written_is_not_told_before_it_is_quiet() -> None:
    followed = Followed(listing(blog=WHOLE))
    assert followed.at(10.0, blog=HALF) == {"/m/blog.yaml": []}
    assert followed.due_at == 11.0
    assert followed.at(10.9, blog=LONGER) == {"/m/blog.yaml": []}
    assert followed.due_at == 11.9
    assert followed.at(11.0, blog=BETTER) == {"/m/blog.yaml": []}
    assert followed.catalog.apps["blog"].workers == 3


def test_an_error_that_stays_is_told_once_the_file_is_quiet_and_stays_told() -> None:
    followed = Followed(listing(blog=WHOLE))
    followed.at(10.0, blog=HALF)
    (problem,) = followed.at(11.0, blog=HALF)["/m/blog.yaml"]
    assert followed.due_at is None
    assert followed.at(11.1, blog=HALF) == {"/m/blog.yaml": [problem]}
    assert followed.catalog.apps["blog"].workers == 2


def test_a_file_that_is_written_again_and_again_is_judged_in_the_end() -> None:
    followed = Followed(listing(blog=WHOLE))
    for tenth in range(100, 150):
        assert followed.at(tenth / 10, blog=f"{HALF}{tenth}") == {"/m/blog.yaml": []}
    assert followed.at(15.0, blog=HALF) != {"/m/blog.yaml": []}


def test_a_new_file_is_held_back_and_others_are_followed_meanwhile() -> None:
    followed = Followed(listing(blog=WHOLE))
    assert followed.at(10.0, blog=BETTER, shop=HALF) == {"/m/blog.yaml": []}
    assert followed.catalog.apps["blog"].workers == 3
    assert set(followed.at(11.0, blog=BETTER, shop=WHOLE)) == {"/m/blog.yaml", "/m/shop.yaml"}


def test_what_cannot_be_read_or_claims_what_another_has_is_told_at_once() -> None:
    followed = Followed(listing(blog=WHOLE))
    assert followed.at(10.0, blog=None) == {"/m/blog.yaml": ["cannot be read"]}
    assert followed.at(11.0, blog=WHOLE, shop="name: blog\npath: y")["/m/shop.yaml"] != []
    assert followed.due_at is None


def test_a_file_that_is_removed_while_it_is_held_back_goes() -> None:
    followed = Followed(listing(blog=WHOLE, shop=WHOLE))
    followed.at(10.0, blog=WHOLE, shop=HALF)
    assert set(followed.at(10.5, blog=WHOLE)) == {"/m/blog.yaml"}
    assert followed.due_at is None
