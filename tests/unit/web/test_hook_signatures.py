"""Webhooks are authenticated in the way of each git server, over the raw body, and by nothing else."""

import base64
import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers

from reconciler.web.hook_signatures import HookSignature

SECRET = "It's a Secret to Everybody"
BODY = b"Hello, World!"
# As GitHub documents it for this secret and this body.
OF_GITHUB = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"


def genuine(*headers: tuple[str, str], body: bytes = BODY, secret: str = SECRET) -> bool:
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
    signature = HookSignature(Headers(raw=raw), secret.encode())
    for at in range(0, len(body), 5):
        signature.add(body[at : at + 5])
    return signature.is_genuine()


def standard(key: bytes, body: bytes = BODY, hook: str = "msg_1", at: str = "1700000000") -> str:
    digest = hmac.new(key, f"{hook}.{at}.".encode() + body, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


STANDARD = (("webhook-id", "msg_1"), ("webhook-timestamp", "1700000000"))
RIGHT = [
    ("X-Hub-Signature-256", f"sha256={OF_GITHUB}"),
    ("X-Hub-Signature", f"sha256={OF_GITHUB}"),
    ("X-Gitea-Signature", OF_GITHUB),
    ("X-Forgejo-Signature", OF_GITHUB),
    ("X-Forgejo-Signature", OF_GITHUB.upper()),
    ("X-Gitlab-Token", SECRET),
    ("Authorization", f"Bearer {SECRET}"),
    ("Authorization", f"bearer {SECRET}"),
]


@pytest.mark.parametrize(("name", "value"), RIGHT)
def test_each_git_server_signs_in_its_way(name: str, value: str) -> None:
    assert genuine((name, value))
    assert not genuine((name, value), secret="another secret than that")
    is_signed = value != SECRET and not value.endswith(SECRET)
    assert genuine((name, value), body=b"Hello, World?") is not is_signed


def test_the_key_of_standard_webhooks_is_in_base64_behind_its_prefix_and_otherwise_the_secret() -> None:
    key = bytes(range(32))
    secret = f"whsec_{base64.b64encode(key).decode()}"
    assert genuine(*STANDARD, ("webhook-signature", standard(key)), secret=secret)
    assert not genuine(*STANDARD, ("webhook-signature", standard(secret.encode())), secret=secret)
    assert genuine(*STANDARD, ("webhook-signature", standard(SECRET.encode())))
    assert not genuine(*STANDARD, ("webhook-signature", standard(SECRET.encode(), at="1700000001")))
    assert not genuine(STANDARD[0], ("webhook-signature", standard(SECRET.encode())))
    assert not genuine(*STANDARD, ("webhook-signature", standard(SECRET.encode()).replace("v1,", "v1a,")))


def test_of_several_signatures_one_has_to_be_right() -> None:
    wrong, right = f"v1,{base64.b64encode(b'x' * 32).decode()}", standard(SECRET.encode())
    assert genuine(*STANDARD, ("webhook-signature", f"{wrong} v2,xyz {right}"))
    assert not genuine(*STANDARD, ("webhook-signature", f"{wrong} {wrong}"))
    assert genuine(("X-Gitea-Signature", "0" * 64), ("X-Hub-Signature-256", f"sha256={OF_GITHUB}"))
    assert genuine(("X-Gitea-Signature", "0" * 64), ("X-Gitea-Signature", OF_GITHUB))


@pytest.mark.parametrize(
    "headers",
    [
        (),
        (("X-Hub-Signature", "sha1=" + hmac.new(SECRET.encode(), BODY, "sha1").hexdigest()),),
        (("X-Hub-Signature-256", OF_GITHUB),),
        (("X-Hub-Signature-256", f"sha512={OF_GITHUB}"),),
        (("X-Hub-Signature-256", "sha256="),),
        (("X-Gitea-Signature", ""),),
        (("X-Gitea-Signature", OF_GITHUB[:-1]),),
        (("X-Gitlab-Token", ""),),
        (("X-Gitlab-Token", SECRET[:-1]),),
        (("X-Gitlab-Token", "\xff" * 20),),
        (("Authorization", SECRET),),
        (("Authorization", f"Basic {SECRET}"),),
        (("Authorization", "Bearer"),),
        (*STANDARD, ("webhook-signature", "v1,")),
        (*STANDARD, ("webhook-signature", "v1,not base64")),
        (("webhook-signature", standard(SECRET.encode(), hook="", at="")),),
    ],
)  # fmt: skip
def test_nothing_else_counts(headers: tuple[tuple[str, str], ...]) -> None:
    assert not genuine(*headers)


@given(st.lists(st.tuples(st.sampled_from([name for name, _ in RIGHT]), st.text(st.characters(max_codepoint=255)))))
def test_no_header_that_knows_nothing_of_the_secret_counts_or_is_an_error(headers: list[tuple[str, str]]) -> None:
    assert not genuine(*headers)
