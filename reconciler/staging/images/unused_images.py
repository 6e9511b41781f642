"""Delete images from registries that this installation pushed and that no revision needs any more, by their digest.

An image stays while anything else may use it: another revision that is kept, or a tag that is not of this installation.
It is taken off the record once it is deleted, so an end at any moment is carried on by the next call.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import field
from urllib.parse import urljoin

from reconciler.linux.dataclass import dataclass
from reconciler.staging.images.pushed_images import PushedImage, PushedImages
from reconciler.staging.images.reference import Reference, RegistryError, reference_of
from reconciler.staging.images.registry import Registry
from reconciler.staging.images.registry_transport import Answer

_GONE, _NOT_ALLOWED = 404, 405
_DELETED = frozenset((200, 202, 204, _GONE))


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """The images that were deleted, and a sentence for each that stays although no revision needs it."""

    images: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)


def unused(images: tuple[PushedImage, ...], needed: Callable[[PushedImage], bool]) -> Iterator[PushedImage]:
    """Yield the images that nothing needs, neither themselves nor another of the same bytes. Pure."""
    used = {(each.repository, each.digest) for each in images if needed(each)}
    yield from (each for each in images if (each.repository, each.digest) not in used)


def remove_unused(
    record: PushedImages,
    needed: Callable[[PushedImage], bool],
    registry_of: Callable[[Reference], Registry | None],
    *,
    dry_run: bool,
) -> Removed:
    """Delete the images of an app that nothing needs. Raises OSError, ValueError; blocks.

    `registry_of` returns how a repository is asked, None if that is not known any more.
    """
    removed = Removed()
    by_repository: dict[str, list[PushedImage]] = {}
    images = record.all()
    for each in unused(images, needed):
        by_repository.setdefault(each.repository, []).append(each)
    for name, found in by_repository.items():
        own = frozenset(each.tag for each in images if each.repository == name)
        try:
            _remove(record, found, own, registry_of, removed, dry_run=dry_run)
        except RegistryError as error:
            removed.kept.append(f"{name}: {error}")
    return removed


def _remove(  # noqa: PLR0913
    record: PushedImages,
    images: list[PushedImage],
    own: frozenset[str],
    registry_of: Callable[[Reference], Registry | None],
    removed: Removed,
    *,
    dry_run: bool,
) -> None:
    to = reference_of(images[0].repository)
    registry = registry_of(to)
    if registry is None:
        raise RegistryError("no cluster of the settings has that registry any more")
    others = list(_others(registry, to, own))
    for digest in dict.fromkeys(each.digest for each in images):
        name = f"{to}@{digest}"
        if tags := [tag for tag, answer in others if _is_in(digest, answer)]:
            removed.kept.append(f"{name} is {', '.join(tags)}, too")
            continue
        if not dry_run:
            _delete(registry, to, digest)
            record.forget(each for each in images if each.digest == digest)
        removed.images.append(name)


def _delete(registry: Registry, to: Reference, digest: str) -> None:
    url = registry.url(f"{to.repository}/manifests/{digest}")
    answer = registry.patiently(f"delete {digest}", lambda: registry.ask("DELETE", url))
    if answer.status == _NOT_ALLOWED or "UNSUPPORTED" in answer.codes:
        raise RegistryError(f"{registry.refusal(answer)}: it deletes nothing, let its own retention")
    if answer.status not in _DELETED:
        raise RegistryError(registry.refusal(answer))


def _others(registry: Registry, to: Reference, own: frozenset[str]) -> Iterator[tuple[str, Answer]]:
    """Yield the tags of a repository that are not of this installation, and the manifest of each."""
    for tag in _tags(registry, to):
        if tag not in own:
            url = registry.url(f"{to.repository}/manifests/{tag}")
            answer = registry.patiently(f"look at {to}:{tag}", lambda url=url: registry.ask("GET", url))  # type: ignore[misc]
            if answer.status not in {200, _GONE}:
                raise RegistryError(registry.refusal(answer))
            yield tag, answer


def _tags(registry: Registry, to: Reference) -> Iterator[str]:
    url = registry.url(f"{to.repository}/tags/list")
    while url:
        answer = registry.patiently(f"list the tags of {to}", lambda url=url: registry.ask("GET", url))  # type: ignore[misc]
        if answer.status == _GONE:  # there is no image at all
            return
        try:
            tags = json.loads(answer.content)["tags"] or []
        except (ValueError, KeyError, TypeError) as error:
            raise RegistryError(f"cannot list the tags of {to}: {registry.refusal(answer)}") from error
        yield from map(str, tags)
        place, _, told = answer.headers.get("link", "").partition(">")
        url = urljoin(answer.url, place.strip().removeprefix("<")) if "next" in told else ""


def _is_in(digest: str, answer: Answer) -> bool:
    """Return whether a manifest is an image, or an index that names it."""
    return answer.headers.get("docker-content-digest") == digest or digest.encode() in answer.content
