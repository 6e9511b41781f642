"""Pushes to Debian's registry, over TLS and with a login, and what a client that is not ours gets back."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler.staging.images.push import Push, Pushed, PushRequest
from reconciler.staging.images.pushed_images import PushedImage, PushedImages
from reconciler.staging.images.reference import reference_of
from reconciler.staging.images.registry import Patience, Registry
from reconciler.staging.images.registry_login import login_for
from reconciler.staging.images.registry_transport import Transport, trusting
from reconciler.staging.images.unused_images import remove_unused
from tests.support.images import a_base, an_image
from tests.support.registries import scripted_registry
from tests.support.site import REPOSITORY, Site
from tests.tools.registry import PASSWORD, DebianRegistry, debian_registry

LARGE, _PIECES = 20 << 20, 1 << 20


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[DebianRegistry]:
    with debian_registry(tmp_path / "registry") as started:
        yield started


def pushed(registry: DebianRegistry, layout: Path, chunk: int = 32 << 20, transport: Transport | None = None) -> Pushed:
    to = reference_of(f"{registry.host}/web/shop:1")
    found = transport or Transport(to.registry, plain=False, trust=trusting(registry.certificate), answer_s=60)
    asked = Registry(found, (), login_for(to.registry, registry.login()), patience=Patience(attempts=9, most_s=1))
    digest = json.loads((layout / "index.json").read_text())["manifests"][0]["digest"]
    return Push(PushRequest(layout=layout, digest=digest, to=to), asked, chunk=chunk).to_the_end()


def pulled(registry: DebianRegistry, name: str, to: Path) -> dict[str, bytes]:
    """Pull an image by skopeo, and return its blobs."""
    certificates = str(registry.top / "trusted")
    words = ["--src-cert-dir", certificates, "--src-authfile", str(registry.login())]
    registry.skopeo("copy", "--preserve-digests", *words, f"docker://{name}", f"oci:{to}:it")
    return {file.name: file.read_bytes() for file in (to / "blobs" / "sha256").iterdir()}


def blobs_of(layout: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in (layout / "blobs" / "sha256").iterdir()}


@pytest.mark.nightly
def test_skopeo_pulls_what_was_pushed_and_a_second_push_only_looks(registry: DebianRegistry, tmp_path: Path) -> None:
    layout = tmp_path / "image"
    digest = an_image(layout, large=LARGE)
    first = pushed(registry, layout, chunk=6 << 20)
    assert first.name == f"{registry.host}/web/shop@{digest}"
    assert first.sent > LARGE
    assert pulled(registry, first.name, tmp_path / "by-digest") == blobs_of(layout)
    assert pulled(registry, f"{registry.host}/web/shop:1", tmp_path / "by-tag") == blobs_of(layout)

    registry.requests()
    assert pushed(registry, layout).sent == 0
    assert {line.split()[0] for line in registry.requests()} == {"HEAD"}

    edited = an_image(layout, "x = 2\n", large=LARGE)
    told = pushed(registry, layout)
    assert (len(told.uploaded), len(told.present), told.sent < 2048) == (2, 1, True)
    assert pulled(registry, f"{registry.host}/web/shop@{edited}", tmp_path / "edited") == blobs_of(layout)
    print("sent for an edit:", told.sent)


@pytest.mark.nightly
@pytest.mark.parametrize("after", range(1, 17))
def test_a_registry_that_is_killed_and_restarted_gets_the_rest(
    registry: DebianRegistry, tmp_path: Path, after: int
) -> None:
    """It is killed within each request of the push in turn, and comes back on the same storage."""
    layout = tmp_path / "image"
    digest = an_image(layout, large=LARGE)
    transport = _KillingTransport(registry, after)
    told = pushed(registry, layout, chunk=6 << 20, transport=transport)
    transport.restarted.join()
    assert transport.left < 0
    assert pulled(registry, told.name, tmp_path / "pulled") == blobs_of(layout)
    assert told.name.endswith(digest)


class _KillingTransport(Transport):
    """Kills the registry with a part of the content of one request sent, or just before a small one."""

    def __init__(self, registry: DebianRegistry, after: int) -> None:
        super().__init__(registry.host, plain=False, trust=trusting(registry.certificate), answer_s=60)
        self.left = after
        self.restarted = threading.Thread(target=self._restart)
        self._killed, self._debian = threading.Event(), registry

    def _restart(self) -> None:
        self._debian.start()

    def _kill(self) -> None:
        if not self._killed.is_set():
            self._killed.set()
            self._debian.kill()
            self.restarted.start()

    def send(self, *words: Any) -> Any:
        self.left -= 1
        if self.left == 0 and getattr(words[3], "length", 0) < _PIECES:
            self._kill()
        return super().send(*words)

    def _counted(self, body: Any) -> Iterator[bytes]:
        for number, piece in enumerate(super()._counted(body)):
            if self.left == 0 and number:
                self._kill()
            yield piece


def command(site: Site, *words: str, code: int = 0) -> "subprocess.CompletedProcess[str]":
    site_words = ["--manifests", str(site.manifests), "--state", str(site.state)]
    done = subprocess.run(
        [sys.executable, "-m", "reconciler", "image", "shop", *words, *site_words],
        capture_output=True, text=True, cwd=REPOSITORY, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    return done


def test_the_command_pushes_and_says_the_name_by_digest(site: Site, tmp_path: Path) -> None:
    site.app("shop")
    a_base(tmp_path / "base", *(f"3.{minor}" for minor in range(8, 30)))
    with scripted_registry(wants="bearer", login=("kim", PASSWORD)) as registry:
        host = f"localhost:{registry.port}"
        file = tmp_path / "config.json"
        file.write_text(json.dumps({"auths": {host: {"username": "kim", "password": PASSWORD}}}))
        words = ["--base", str(tmp_path / "base"), "--push", f"{host}/web/shop:1", "--plain-http"]
        words += ["--registry-auth", str(file)]
        done = command(site, *words)
        (digest,) = {name for _, name in registry.manifests} - {"1"}
        assert done.stdout == f"{host}/web/shop@{digest}\n"

        registry.asked.clear()
        again = json.loads(command(site, *words, "--json").stdout)
        assert (again["image"], again["pushed"]["sent"], set(registry.done)) == (digest, 0, {"HEAD"})

        file.write_text(json.dumps({"auths": {host: {"username": "kim", "password": f"{PASSWORD}-no"}}}))
        refused = command(site, *words, code=1)
        assert "answered 401" in refused.stderr
        assert "run the command again, which sends what has not arrived" in refused.stderr
        assert PASSWORD not in refused.stderr
    wrong = command(site, "--base", str(tmp_path / "base"), "--push", "shop:1", code=2)
    assert "does not begin with the host of a registry" in wrong.stderr
    assert "with --output, or a registry" in command(site, "--base", str(tmp_path / "base"), code=2).stderr


def test_an_image_that_no_revision_needs_is_deleted_and_another_one_and_its_blobs_are_there(
    registry: DebianRegistry, tmp_path: Path
) -> None:
    layout, record = tmp_path / "image", PushedImages(tmp_path / "pushed", "shop")
    asked = Registry(
        Transport(registry.host, plain=False, trust=trusting(registry.certificate), answer_s=60),
        (),
        login_for(registry.host, registry.login()),
        patience=Patience(attempts=9, most_s=1),
    )
    for tag in ("one", "two"):
        digest = an_image(layout, f"x = '{tag}'\n")
        to = reference_of(f"{registry.host}/web/shop:{tag}")
        record.note(PushedImage(repository=str(to), digest=digest, tag=tag, revision=tag, at=0.0))
        Push(PushRequest(layout=layout, digest=digest, to=to), asked).to_the_end()
    one, two = (f"{registry.host}/web/shop@{each.digest}" for each in record.all())
    assert remove_unused(record, lambda image: image.revision == "two", lambda _: asked, dry_run=False).images == [one]
    assert pulled(registry, two, tmp_path / "pulled") == blobs_of(layout)
    with pytest.raises(AssertionError, match="manifest unknown"):
        pulled(registry, one, tmp_path / "gone")
    assert remove_unused(record, lambda _: False, lambda _: asked, dry_run=False).images == [two]
    assert record.all() == ()
