"""What is signed of a commit or a tag is exactly what git takes for it, or the object is refused."""

import hashlib

import pytest

from reconciler.manifests.git.signed_objects import NotSigned, SignedObject, signed_commit, signed_tag
from tests.support.signing import TREE, object_id, unsigned_commit, unsigned_tag, with_signature

SSH = b"-----BEGIN SSH SIGNATURE-----\nU1NIU0lH\nAAAA\n-----END SSH SIGNATURE-----\n"
PGP = b"-----BEGIN PGP SIGNATURE-----\n\niQIzBAAB\n=abcd\n-----END PGP SIGNATURE-----\n"
PARENT = "1" * 40
PAYLOAD = unsigned_commit("Subject\n\nText\n", parents=[PARENT])
COMMIT = with_signature(PAYLOAD, SSH)
TAG = unsigned_tag(PARENT, "v1")


def read(raw: bytes) -> SignedObject:
    return signed_commit(object_id(raw), raw)


def fault(raw: bytes) -> tuple[str, str]:
    with pytest.raises(NotSigned) as found:
        read(raw)
    return found.value.fault, str(found.value)


def test_what_is_signed_is_the_commit_without_its_signature() -> None:
    found = read(COMMIT)
    assert found.payload == PAYLOAD
    assert (found.signature, found.form, found.target, found.parents) == (SSH, "ssh", TREE, (PARENT,))
    assert read(with_signature(PAYLOAD, PGP)).form == "openpgp"


def test_other_headers_stay_in_what_is_signed_byte_by_byte() -> None:
    more = PAYLOAD.replace(
        b"\n\n", b"\nencoding latin\r1\x0b\x0c\x1c\x85\nmergetag object x\n  gpgsig y\n \nHG:extra z\n\n", 1
    )
    assert read(with_signature(more, SSH)).payload == more
    before = COMMIT.replace(b"\ngpgsig ", b"\nencoding \r\ngpgsig ", 1)
    assert read(before).payload == PAYLOAD.replace(b"\n\nSubject", b"\nencoding \r\n\nSubject")
    after = COMMIT.replace(b"SIGNATURE-----\n\n", b"SIGNATURE-----\nencoding x\n\n", 1)
    assert read(after).payload == PAYLOAD.replace(b"\n\nSubject", b"\nencoding x\n\nSubject")


def test_an_empty_line_that_ends_a_signature_is_part_of_it() -> None:
    """GitHub signs like this."""
    assert read(COMMIT.replace(b"SIGNATURE-----\n\n", b"SIGNATURE-----\n \n\n", 1)).payload == PAYLOAD


def test_an_unsigned_commit_is_told_whatever_its_message_says() -> None:
    assert fault(PAYLOAD) == ("unsigned", "is not signed")
    message = f'S\n\ngpgsig {SSH.decode()}\n[GNUPG:] VALIDSIG x\nGood "git" signature for alice@x\n'
    assert fault(unsigned_commit(message)) == ("unsigned", "is not signed")


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(with_signature(COMMIT, SSH), id="two signatures"),
        pytest.param(with_signature(COMMIT, SSH, b"gpgsig-sha256"), id="a signature of another kind beside it"),
        pytest.param(with_signature(PAYLOAD, SSH, b"gpgsig-sha256"), id="only a signature of another kind"),
        pytest.param(COMMIT.replace(b"\ngpgsig ", b"\ngpgsigx y\ngpgsig ", 1), id="a header that git leaves out"),
        pytest.param(COMMIT.replace(b"\nauthor", b"\n x\nauthor", 1), id="a continuation before the author"),
        pytest.param(COMMIT.replace(b"\ngpgsig ", b"\n x\ngpgsig ", 1), id="a continuation of the committer"),
        pytest.param(COMMIT.replace(b"\ngpgsig ", b"\nparent " + b"0" * 40 + b"\ngpgsig ", 1), id="a late parent"),
        pytest.param(COMMIT.replace(b"\ngpgsig ", b"\ntree " + b"0" * 40 + b"\ngpgsig ", 1), id="a second tree"),
        pytest.param(COMMIT.replace(b"\ngpgsig ", b"\nauthor x\ngpgsig ", 1), id="a second author"),
        pytest.param(COMMIT.replace(b"\ngpgsig ", b"\nnonsense\ngpgsig ", 1), id="a line that is no header"),
        pytest.param(COMMIT.replace(b"tree ", b"author x\ntree ", 1), id="an author before the tree"),
        pytest.param(COMMIT.replace(b"parent ", b"Parent ", 1), id="another case"),
        pytest.param(COMMIT.replace(PARENT.encode(), PARENT.encode() + b"0"), id="an id that is too long"),
        pytest.param(COMMIT.replace(PARENT.encode(), b"0" * 64), id="an id of another kind"),
        pytest.param(COMMIT.replace(b"\n\n", b"\n", 1), id="no message"),
        pytest.param(COMMIT.replace(b"Text", b"Te\0xt"), id="a NUL byte in the message"),
        pytest.param(COMMIT.replace(b"Alice", b"Ali\0ce"), id="a NUL byte in a header"),
        pytest.param(with_signature(PAYLOAD, SSH + SSH), id="two blocks in one signature"),
        pytest.param(with_signature(PAYLOAD, SSH + b"more\n"), id="text after the signature"),
        pytest.param(with_signature(PAYLOAD, SSH.replace(b"\n-----END", b"\nx-----END")), id="a damaged end"),
        pytest.param(with_signature(PAYLOAD, SSH[:-30]), id="no end"),
        pytest.param(COMMIT.replace(b"Text", b"x" * 17 * 1024 * 1024), id="more than the limit"),
        pytest.param(PAYLOAD.replace(b"<alice@x>", b"alice@x>"), id="an author without an address"),
        pytest.param(PAYLOAD.replace(b"> 1780000000 +0000\n\n", b"> +0000\n\n"), id="a committer without a date"),
        pytest.param(PAYLOAD.replace(b"committer Alice", b"committer\nAlice"), id="a committer over two lines"),
        pytest.param(b"", id="nothing"),
        pytest.param(b"\n\n", id="no headers"),
    ],
)
def test_what_could_be_read_in_two_ways_is_refused(raw: bytes) -> None:
    assert fault(raw)[0] == "malformed"


@pytest.mark.parametrize("kind", [b"SIGNED MESSAGE", b"PGP MESSAGE", b"X SIGNATURE"])
def test_a_form_that_is_not_supported_is_told(kind: bytes) -> None:
    signature = SSH.replace(b"SSH SIGNATURE", kind)
    expected = ("unknown-form", "is signed in a form that is not supported; expected ssh or OpenPGP")
    assert fault(with_signature(PAYLOAD, signature)) == expected
    assert fault(with_signature(PAYLOAD, b"x\n" + SSH))[0] == "unknown-form"


def test_a_commit_whose_content_does_not_have_its_id_is_refused() -> None:
    with pytest.raises(NotSigned, match="its content does not have its id"):
        signed_commit(object_id(COMMIT), COMMIT.replace(b"Text", b"Tex."))
    with pytest.raises(NotSigned, match="its content does not have its id"):
        signed_commit(object_id(COMMIT, "tag"), COMMIT)


def test_a_commit_of_a_repository_with_long_ids_has_the_header_of_its_own() -> None:
    payload = PAYLOAD.replace(TREE.encode(), b"a" * 64).replace(PARENT.encode(), b"b" * 64)
    raw = with_signature(payload, SSH, b"gpgsig-sha256")
    long_id = hashlib.sha256(b"commit %d\0%s" % (len(raw), raw)).hexdigest()
    assert signed_commit(long_id, raw).payload == payload
    other = with_signature(payload, SSH)
    with pytest.raises(NotSigned, match="another header"):
        signed_commit(hashlib.sha256(b"commit %d\0%s" % (len(other), other)).hexdigest(), other)


def tag_fault(raw: bytes, name: str = "v1", commit: str = PARENT) -> tuple[str, str]:
    with pytest.raises(NotSigned) as found:
        signed_tag(object_id(raw, "tag"), raw, name, commit)
    return found.value.fault, str(found.value)


def test_what_is_signed_is_the_tag_before_its_signature() -> None:
    raw = TAG + SSH
    found = signed_tag(object_id(raw, "tag"), raw, "v1", PARENT)
    assert (found.payload, found.signature, found.target) == (TAG, SSH, PARENT)


def test_a_tag_that_bears_another_name_than_its_reference_is_refused() -> None:
    assert tag_fault(TAG + SSH, "v2") == ("other-name", "is named 'v1' in what is signed")
    assert tag_fault(unsigned_tag(PARENT, "v2\ntag v1") + SSH, "v1")[0] == "malformed"


def test_a_tag_that_leads_to_another_commit_than_the_one_it_is_to_sign_is_refused() -> None:
    other = "2" * 40
    assert tag_fault(TAG + SSH, commit=other) == (
        "other-commit",
        "leads to commit 1111111 in what is signed, not 2222222",
    )


def test_a_tag_that_is_not_signed_or_twice_is_refused() -> None:
    assert tag_fault(TAG) == ("unsigned", "is not signed")
    assert tag_fault(TAG + SSH + SSH)[1] == "has two signatures"
    assert tag_fault(TAG + SSH + b"more\n")[1] == "has something else beside its signature"
    assert tag_fault(TAG.replace(b"type commit", b"type tree") + SSH)[1] == "leads to something else than a commit"
    assert tag_fault(TAG.replace(b"\n\n", b"\ngpgsig x\n\n", 1) + SSH)[0] == "malformed"


def test_a_lightweight_tag_is_a_commit_and_no_tag() -> None:
    with pytest.raises(NotSigned, match="does not have its id"):
        signed_tag(object_id(COMMIT), COMMIT, "v1", PARENT)
