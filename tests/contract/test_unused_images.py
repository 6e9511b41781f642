"""Images that no revision needs are deleted from a registry, and none that anything else may use."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.staging.images.pushed_images import PushedImage, PushedImages, apps_with_images
from reconciler.staging.images.reference import Reference
from reconciler.staging.images.registry import Patience, Registry
from reconciler.staging.images.registry_transport import Transport
from reconciler.staging.images.unused_images import Removed, remove_unused
from tests.support.registries import Fault, ScriptedRegistry, scripted_registry

pytestmark = pytest.mark.contract


class Site:
    """A registry with images of an app, and what is on record of them."""

    def __init__(self, registry: ScriptedRegistry, directory: Path) -> None:
        self.registry, self.record = registry, PushedImages(directory, "shop")
        self.repository = f"localhost:{registry.port}/web/shop"

    def push(self, revision: str, content: str = "", repository: str = "web/shop") -> str:
        """Have an image of a revision there, and on record; return its digest."""
        manifest = json.dumps({"layers": [], "of": content or revision}).encode()
        digest = f"sha256:{hashlib.sha256(manifest).hexdigest()}"
        self.tag(manifest, f"{revision}-here", repository)
        name = f"localhost:{self.registry.port}/{repository}"
        self.record.note(PushedImage(repository=name, digest=digest, tag=f"{revision}-here", revision=revision, at=1.0))
        return digest

    def tag(self, manifest: bytes, tag: str, repository: str = "web/shop") -> None:
        digest = f"sha256:{hashlib.sha256(manifest).hexdigest()}"
        self.registry.manifests |= {(repository, digest): manifest, (repository, tag): manifest}

    def remove(self, *needed: str, dry_run: bool = False) -> Removed:
        return remove_unused(self.record, lambda image: image.revision in needed, self.asked, dry_run=dry_run)

    def asked(self, to: Reference) -> Registry | None:
        transport = Transport(to.registry, plain=True, trust=None, answer_s=10.0)
        return Registry(transport, (), None, patience=Patience(attempts=1))

    def digests(self) -> set[str]:
        return {name for _, name in self.registry.manifests if ":" in name}

    def recorded(self) -> list[str]:
        return [image.revision for image in self.record.all()]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with scripted_registry() as registry:
        yield Site(registry, tmp_path / "pushed")


def test_images_that_no_revision_needs_are_deleted_by_their_digest_and_the_others_stay(site: Site) -> None:
    one, two, three = (site.push(revision) for revision in ("r1", "r2", "r3"))
    assert site.remove("r2", "r3", dry_run=True) == Removed(images=[f"{site.repository}@{one}"])
    assert site.digests() == {one, two, three}
    assert site.remove("r2", "r3") == Removed(images=[f"{site.repository}@{one}"])
    assert site.digests() == {two, three}
    assert site.recorded() == ["r2", "r3"]
    assert site.remove("r2", "r3") == Removed()
    assert [each.path for each in site.registry.asked if each.method == "DELETE"] == [f"/v2/web/shop/manifests/{one}"]


def test_an_image_of_the_same_bytes_as_that_of_a_revision_that_is_kept_stays(site: Site) -> None:
    digest = site.push("r1", "same")
    assert site.push("r2", "same") == digest
    assert site.remove("r2") == Removed()
    assert site.digests() == {digest}
    assert site.recorded() == ["r1", "r2"]
    assert site.remove().images == [f"{site.repository}@{digest}"]
    assert apps_with_images(site.record.directory) == []


@pytest.mark.parametrize("page", [1, 2, 100])
def test_an_image_that_has_the_tag_of_another_installation_or_is_in_an_index_of_one_stays(
    site: Site, page: int
) -> None:
    site.registry.page = page
    one, two, three = (site.push(revision) for revision in ("r1", "r2", "r3"))
    site.tag(site.registry.manifests["web/shop", one], "r1-there")
    site.tag(json.dumps({"manifests": [{"digest": two}]}).encode(), "stable")
    found = site.remove()
    assert found.images == [f"{site.repository}@{three}"]
    assert found.kept == [f"{site.repository}@{one} is r1-there, too", f"{site.repository}@{two} is stable, too"]
    assert {one, two} < site.digests()
    assert site.recorded() == ["r1", "r2"]


def test_a_registry_that_deletes_nothing_is_told_and_asked_again_the_next_time(site: Site) -> None:
    digest = site.push("r1")
    site.registry.deletes = False
    (kept,) = site.remove().kept
    assert kept.endswith("(UNSUPPORTED said the registry): it deletes nothing, let its own retention")
    assert site.recorded() == ["r1"]
    site.registry.deletes = True
    assert site.remove().images == [f"{site.repository}@{digest}"]


def test_one_repository_that_cannot_be_asked_keeps_no_other_from_being_cleared(site: Site) -> None:
    one, two = site.push("r1", repository="other/shop"), site.push("r2")
    site.registry.fault = lambda _, __, path: (403, {}) if "other" in path else None
    found = site.remove()
    assert found.images == [f"{site.repository}@{two}"]
    assert [each for each in found.kept if "the login may not do that" in each] == found.kept
    assert site.digests() == {one}


@pytest.mark.parametrize("fault", ["before", "after", (500, {})])
@pytest.mark.parametrize("at", range(8))
def test_an_end_at_any_request_is_carried_on_and_deletes_nothing_else(site: Site, at: int, fault: Fault) -> None:
    digests = [site.push(f"r{number}") for number in range(5)]
    site.tag(b"{}", "of-another")
    others = site.digests() - set(digests)
    site.registry.fault = lambda number, *_: fault if number >= at else None
    first = site.remove("r4")
    assert {digests[4], *others} <= site.digests()
    gone = {name.rpartition("@")[2] for name in first.images}
    assert not gone & site.digests()
    site.registry.fault = lambda *_: None
    site.remove("r4")
    assert site.digests() == {digests[4], *others}
    assert site.recorded() == ["r4"]


@pytest.mark.parametrize("at", range(3))
def test_a_death_between_a_deletion_and_its_record_is_carried_on(site: Site, at: int) -> None:
    digests = [site.push(f"r{number}") for number in range(4)]

    class Dies(PushedImages):
        left = at

        def forget(self, gone: object) -> None:
            if not self.left:
                raise KeyboardInterrupt
            self.left -= 1
            super().forget(gone)  # type: ignore[arg-type]

    record, site.record = site.record, Dies(site.record.directory, "shop")
    with pytest.raises(KeyboardInterrupt):
        site.remove("r3")
    assert digests[3] in site.digests()
    site.record = record
    site.remove("r3")
    assert site.digests() == {digests[3]}
    assert site.recorded() == ["r3"]


def test_what_was_pushed_again_is_the_last_one_on_record_and_a_damaged_record_deletes_nothing(site: Site) -> None:
    digest = site.push("r1")
    site.push("r2")
    site.push("r1")
    assert site.recorded() == ["r2", "r1"]
    (site.record.directory / "shop.json").write_text('[{"digest": 1}]')
    with pytest.raises(ValueError, match="damaged"):
        site.remove()
    assert digest in site.digests()
    site.push("r3")
    assert site.recorded() == ["r3"]
