"""Pushes to a registry that fails in each way: what arrives is whole, and nothing is sent twice or elsewhere."""

import base64
import json
import os
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reconciler.staging.images.push import Push, Pushed, PushRequest
from reconciler.staging.images.reference import Reference, RegistryError
from reconciler.staging.images.registry import Patience, Registry
from reconciler.staging.images.registry_login import Login
from reconciler.staging.images.registry_transport import Transport, trusting
from tests.support.certificates import write_certificate
from tests.support.images import an_image
from tests.support.registries import Fault, ScriptedRegistry, scripted_registry

KIM = Login(user="kim", password="hush")
LARGE = 300_000


def pushed(
    registry: ScriptedRegistry,
    layout: Path,
    *,
    login: Login | None = KIM,
    attempts: int = 6,
    tag: str = "1",
    base: str = "",
    tls: Path | None = None,
    told: Callable[[str], None] = lambda _: None,
    chunk: int = 100_000,
    answer_s: float = 20.0,
) -> Pushed:
    host = f"localhost:{registry.port}"
    transport = Transport(host, plain=tls is None, trust=tls and trusting(tls), answer_s=answer_s)  # type: ignore[arg-type]
    scopes = ("repository:web/shop:pull,push",)
    patience = Patience(attempts=attempts, first_s=0.001, most_s=0.002, asked_s=1.0)
    digest = json.loads((layout / "index.json").read_text())["manifests"][0]["digest"]
    request = PushRequest(
        layout=layout, digest=digest, to=Reference(registry=host, repository="web/shop", tag=tag), base=base
    )
    return Push(request, Registry(transport, scopes, login, patience=patience, told=told), chunk=chunk).to_the_end()


def is_whole(registry: ScriptedRegistry, layout: Path, digest: str) -> bool:
    """Tell whether a registry has every blob of an image, byte for byte, and the manifest under its tag and digest."""
    files = {f"sha256:{file.name}": file.read_bytes() for file in (layout / "blobs" / "sha256").iterdir()}
    manifest = files.pop(digest)
    return registry.blobs["web/shop"] == files and all(
        registry.manifests["web/shop", name] == manifest for name in ("1", digest)
    )


@pytest.mark.parametrize("wants", ["", "basic", "bearer"])
def test_an_image_is_pushed_once_and_an_edit_sends_the_small_layer(tmp_path: Path, wants: Any) -> None:
    digest = an_image(tmp_path)
    with scripted_registry(wants=wants) as registry:
        first = pushed(registry, tmp_path)
        assert is_whole(registry, tmp_path, digest)
        assert first.name == f"localhost:{registry.port}/web/shop@{digest}"
        assert (len(first.uploaded), first.present, first.sent > LARGE) == (3, (), True)

        registry.asked.clear()
        again = pushed(registry, tmp_path)
        assert (set(registry.done), again.sent, again.uploaded, len(again.present)) == ({"HEAD"}, 0, (), 3)

        registry.asked.clear()
        an_image(tmp_path, "x = 2\n")
        edited = pushed(registry, tmp_path)
        assert (len(edited.uploaded), len(edited.present)) == (2, 1)  # the code, and the configuration
        assert edited.sent == registry.sent < 2048


def test_a_base_is_mounted_and_not_sent(tmp_path: Path) -> None:
    an_image(tmp_path)
    with scripted_registry() as registry:
        pushed(registry, tmp_path)
        base = registry.blobs.pop("web/shop")
        registry.manifests.clear()
        (large,) = (digest for digest, content in base.items() if len(content) > LARGE)
        registry.blobs["web/python"] = {large: base[large]}
        again = pushed(registry, tmp_path, base="web/python")
        assert (again.mounted, len(again.uploaded), again.sent < 2048) == ((large,), 2, True)


def _requests_of_a_push(layout: Path, wants: Any) -> int:
    with scripted_registry(wants=wants) as registry:
        pushed(registry, layout)
        return len(registry.asked)


@pytest.mark.parametrize("fault", ["before", "after", "half", (500, {}), (503, {}), (429, {"Retry-After": "0"})])
@pytest.mark.parametrize("wants", ["", "bearer"])
def test_a_push_survives_each_fault_at_each_of_its_requests(tmp_path: Path, fault: Fault, wants: Any) -> None:
    digest = an_image(tmp_path)
    for number in range(_requests_of_a_push(tmp_path, wants)):
        with scripted_registry(wants=wants, fault=lambda at, *_: fault if at == number else None) as registry:  # noqa: B023
            pushed(registry, tmp_path)
            assert is_whole(registry, tmp_path, digest), number
            assert not (tmp_path / ".upload.json").exists()


class _Killed(BaseException):
    """Ends a push where a kill would."""


@pytest.mark.parametrize("wants", ["", "bearer"])
def test_a_push_that_was_killed_after_any_request_is_carried_on_by_the_next(
    tmp_path: Path, wants: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = an_image(tmp_path)
    count = _requests_of_a_push(tmp_path, wants)
    send = Transport.send
    for number in range(count):
        left = [number]

        def counted(self: Transport, *words: Any) -> Any:
            answer = send(self, *words)
            left[0] -= 1  # noqa: B023
            if left[0] < 0:  # noqa: B023
                raise _Killed
            return answer

        with scripted_registry(wants=wants) as registry:
            with monkeypatch.context() as patched:
                patched.setattr(Transport, "send", counted)
                with pytest.raises(_Killed):
                    pushed(registry, tmp_path)
            pushed(registry, tmp_path)
            assert is_whole(registry, tmp_path, digest), number
            # A chunk that was taken is not sent again: a kill costs the content of one request at most.
            assert registry.sent == sum(len(each) for each in registry.blobs["web/shop"].values()) + len(
                registry.manifests["web/shop", digest]
            ), number


def test_a_large_blob_goes_on_where_the_registry_has_it_until(tmp_path: Path) -> None:
    digest = an_image(tmp_path)
    patches: list[int] = []

    def third_of_them(_: int, method: str, path: str) -> Fault | None:
        patches.extend([1] * (method == "PATCH"))
        return (500, {}) if method == "PATCH" and len(patches) > 2 else None

    with scripted_registry(fault=third_of_them) as registry:
        with pytest.raises(RegistryError, match=r"answered 500 \(SCRIPTED so\), 2 times"):
            pushed(registry, tmp_path, attempts=2)
        noted = tmp_path / ".upload.json"
        assert (noted.stat().st_mode & 0o777, len(registry.uploads["u0"])) == (0o600, 200_000)
        registry.fault = lambda *_: None
        registry.asked.clear()
        pushed(registry, tmp_path)
        assert is_whole(registry, tmp_path, digest)
        assert registry.sent < LARGE - 200_000 + 8192
        assert not noted.exists()


def test_an_upload_that_the_registry_has_forgotten_begins_again(tmp_path: Path) -> None:
    digest = an_image(tmp_path)
    with scripted_registry(fault=lambda _, method, __: (500, {}) if method == "PATCH" else None) as registry:
        with pytest.raises(RegistryError):
            pushed(registry, tmp_path, attempts=1)
        registry.uploads.clear()  # as it was restarted
        registry.fault = lambda *_: None
        pushed(registry, tmp_path)
        assert is_whole(registry, tmp_path, digest)


def test_a_blob_that_the_registry_claimed_to_have_is_sent(tmp_path: Path) -> None:
    digest = an_image(tmp_path)
    size: dict[str, str] = {}
    for file in (tmp_path / "blobs" / "sha256").iterdir():
        size[f"sha256:{file.name}"] = str(file.stat().st_size)

    def claims(_: int, method: str, path: str) -> Fault | None:
        name = path.rpartition("/")[2]
        return (200, {"Content-Length": size[name]}) if method == "HEAD" and "/blobs/" in path else None

    said: list[str] = []
    with scripted_registry(fault=claims) as registry:
        pushed(registry, tmp_path, told=said.append)
        assert is_whole(registry, tmp_path, digest)
    assert any("has not all that it said it had" in each for each in said)


def test_a_token_that_ends_in_the_middle_is_got_again(tmp_path: Path) -> None:
    digest = an_image(tmp_path)
    with scripted_registry(wants="bearer") as registry:

        def expires(at: int, method: str, path: str) -> None:
            was_refused = at > 1 and registry.asked[at - 2].path == path  # and a token got since
            if method in ("PATCH", "PUT") and not was_refused:
                registry.token = "another"

        registry.fault = expires
        pushed(registry, tmp_path)
        assert is_whole(registry, tmp_path, digest)
        assert registry.tokens > 3
        registry.lasts_s, registry.fault = 0.000_001, lambda *_: None
        before = registry.tokens
        pushed(registry, tmp_path)  # one that is about to end is replaced before it is refused
        asked = [each for each in registry.asked if each.authorization.startswith("Bearer")]
        assert registry.tokens - before >= 4
        assert asked


def test_a_refresh_token_and_a_token_as_it_is_open_a_registry(tmp_path: Path) -> None:
    digest = an_image(tmp_path)
    with scripted_registry(wants="bearer") as registry:
        pushed(registry, tmp_path, login=Login(refresh_token="hush"))
        assert is_whole(registry, tmp_path, digest)
        registry.token = "given"
        assert pushed(registry, tmp_path, login=Login(token="given")).sent == 0


def test_a_registry_that_asks_to_wait_is_left_alone_as_long_as_that(tmp_path: Path) -> None:
    an_image(tmp_path)
    said: list[str] = []
    with scripted_registry(fault=lambda at, *_: (429, {"Retry-After": "1"}) if at == 0 else None) as registry:
        pushed(registry, tmp_path, told=said.append)
    assert any("answered 429; again in 1 s" in each for each in said)


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ((403, {}), "answered 403: the login may not do that, or is not valid"),
        ((507, {}), "answered 507, 2 times"),
        ("before", "the connection to localhost failed: RemoteDisconnected, 2 times"),
        ((307, {"Location": "/v2/there"}), "redirects more than 5 times"),
        ((307, {"Location": "ftp://localhost/"}), "leads to a place without https, which is not followed"),
        ((307, {"Location": "http://localhost:99999/"}), "leads to a place that is no URL"),
        ((405, {}), "cannot look for sha256:"),
    ],
)
def test_a_registry_that_does_not_do_it_is_named_with_its_answer(tmp_path: Path, fault: Fault, why: str) -> None:
    an_image(tmp_path)
    with scripted_registry(fault=lambda *_: fault) as registry, pytest.raises(RegistryError, match=why):
        pushed(registry, tmp_path, attempts=2)


def test_what_authorizes_goes_to_no_other_host(tmp_path: Path) -> None:
    digest = an_image(tmp_path)
    with scripted_registry() as other, scripted_registry(wants="basic") as registry:
        moved = {"Location": f"http://localhost:{other.port}/v2/web/shop/blobs/sha256:none"}
        registry.fault = lambda _, method, path: (307, moved) if method == "HEAD" and "/blobs/" in path else None
        pushed(registry, tmp_path)
        assert is_whole(registry, tmp_path, digest)
        assert len(other.asked) == 3
        assert {each.authorization for each in other.asked} == {""}
        assert [each.authorization[:5] for each in registry.asked if each.method == "HEAD"] == ["", *["Basic"] * 3]


def test_an_upload_to_another_host_carries_no_login(tmp_path: Path) -> None:
    digest = an_image(tmp_path)
    with scripted_registry(wants="basic") as registry, scripted_registry() as other:
        other.uploads, other.blobs = registry.uploads, registry.blobs  # what both have is behind them
        registry.elsewhere = f"http://localhost:{other.port}"
        pushed(registry, tmp_path)
        assert is_whole(registry, tmp_path, digest)
        assert other.sent > LARGE
        assert {each.authorization for each in other.asked} == {""}


def shown(error: BaseException | None) -> str:
    """Return what a traceback shows of an error and of what caused it."""
    if error is None:
        return ""
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return f"{error} {error.args!r} {shown(before)}"


@pytest.mark.parametrize("wants", ["basic", "bearer"])
def test_no_secret_is_in_a_message(tmp_path: Path, wants: Any) -> None:
    an_image(tmp_path)
    secret = "s3cr3t-of-kim"
    with scripted_registry(wants=wants) as registry, pytest.raises(RegistryError) as raised:
        pushed(registry, tmp_path, login=Login(user="kim", password=secret))
    encoded = base64.b64encode(f"kim:{secret}".encode()).decode()
    told = shown(raised.value)
    assert secret not in told
    assert encoded not in told
    assert secret not in repr(Login(user="kim", password=secret))
    with scripted_registry(wants="bearer", login=("kim", "hush")) as registry, pytest.raises(RegistryError) as refused:
        pushed(registry, tmp_path, login=Login(token="two\nlines"))
    assert "none that HTTP can carry" in str(refused.value)
    assert "lines" not in shown(refused.value)


def test_without_a_login_the_message_says_where_it_belongs(tmp_path: Path) -> None:
    an_image(tmp_path)
    with scripted_registry(wants="basic") as registry, pytest.raises(RegistryError, match="in --registry-auth"):
        pushed(registry, tmp_path, login=None)


def test_an_authority_of_ones_own_is_trusted_and_no_other(tmp_path: Path) -> None:
    layout = tmp_path / "image"
    digest = an_image(layout)
    chain, key = write_certificate(tmp_path, "localhost")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(chain, key)
    with scripted_registry(tls, wants="bearer") as registry:
        pushed(registry, layout, tls=chain)
        assert is_whole(registry, layout, digest)
        (tmp_path / "other").mkdir()
        foreign, _ = write_certificate(tmp_path / "other", "localhost")
        registry.asked.clear()
        with pytest.raises(RegistryError, match=r"is not trusted: .*; name the authority in --registry-ca"):
            pushed(registry, layout, tls=foreign)
        assert registry.asked == []
        registry.fault = lambda *_: (307, {"Location": f"http://localhost:{registry.port}/"})
        with pytest.raises(RegistryError, match="leads to a place without https, which is not followed"):
            pushed(registry, layout, tls=chain)
    with pytest.raises(RegistryError, match="cannot read the certificates"):
        trusting(tmp_path / "none.pem")


def test_a_registry_that_never_answers_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    an_image(tmp_path)
    why = r"did not answer within 0\.2 s, 2 times"
    with scripted_registry(fault=_stuck) as registry, pytest.raises(RegistryError, match=why):
        pushed(registry, tmp_path, attempts=2, answer_s=0.2)


def _stuck(*_: object) -> None:
    threading.Event().wait(1)


def test_a_tag_that_was_moved_is_put_back_and_without_one_the_image_has_its_digest(tmp_path: Path) -> None:
    digest = an_image(tmp_path)
    with scripted_registry() as registry:
        pushed(registry, tmp_path, tag="")
        assert {name for _, name in registry.manifests} == {digest}
        registry.manifests["web/shop", "1"] = b"{}"
        assert pushed(registry, tmp_path).sent < 2048
        assert is_whole(registry, tmp_path, digest)


def test_a_layout_that_is_damaged_is_not_pushed(tmp_path: Path) -> None:
    an_image(tmp_path)
    (large,) = (file for file in (tmp_path / "blobs/sha256").iterdir() if file.stat().st_size > LARGE)
    whole = large.read_bytes()
    large.write_bytes(whole[:-1] + b"?")
    with scripted_registry() as registry:
        with pytest.raises(RegistryError, match=r"cannot push sha256:.*DIGEST_INVALID"):
            pushed(registry, tmp_path)
        os.truncate(large, 10)
        with pytest.raises(RegistryError, match="is damaged: write the image again"):
            pushed(registry, tmp_path)
        assert registry.manifests == {}
