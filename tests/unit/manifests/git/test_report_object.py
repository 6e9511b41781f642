"""A report counts if the host's own key signed exactly it, as OpenSSH signs; anything else about it refuses it."""

import json
import subprocess
from pathlib import Path

import pytest

from reconciler.manifests.git.report_object import MOST_N, NotGenuine, report_of, report_text, signed
from reconciler.planning.fleet.reports import Report, Run
from tests.support.signing import Key, make_key

A, B = "a" * 40, "b" * 40
BLOB = "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
REPORT = Report(
    host="web1", n=41, head=B, in_force=A, runs=(Run(commit=A, state="well", well_s=1800.5),), bad=(B,), held="refused"
)


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Key:
    return make_key(tmp_path_factory.mktemp("keys") / "web1")


@pytest.fixture(scope="module")
def raw(key: Key) -> bytes:
    return signed(report_text(REPORT, "fleet", "main", BLOB, 0.0), key.file.read_bytes())


def test_a_report_is_read_as_it_was_written(raw: bytes, key: Key) -> None:
    assert report_of(raw, "web1", key.public, "fleet", "main") == REPORT


def test_openssh_verifies_what_is_signed_here_and_what_it_signs_counts(raw: bytes, key: Key, tmp_path: Path) -> None:
    at = raw.index(b"-----BEGIN")
    signature, signers = tmp_path / "s", tmp_path / "allowed"
    signature.write_bytes(raw[at:])
    signers.write_text(f"web1 {key.public}\n")
    words = [
        "ssh-keygen",
        "-Y",
        "verify",
        "-f",
        str(signers),
        "-I",
        "web1",
        "-n",
        "reconciler-report",
        "-s",
        str(signature),
    ]
    assert subprocess.run(words, input=raw[:at], check=False, capture_output=True).returncode == 0
    theirs = raw[:at] + key.sign(raw[:at], "reconciler-report")
    assert report_of(theirs, "web1", key.public, "fleet", "main") == REPORT


def test_a_report_of_another_key_host_origin_branch_or_purpose_does_not_count(
    raw: bytes, key: Key, tmp_path: Path
) -> None:
    other = make_key(tmp_path / "other")
    text = report_text(REPORT, "fleet", "main", BLOB, 0.0)
    cases = {
        "is signed by another key": (raw, "web1", other.public, "fleet", "main"),
        "is no report of this host": (raw, "web2", key.public, "fleet", "main"),
        "is of another origin": (raw, "web1", key.public, "prod", "main"),
        "is of another branch": (raw, "web1", key.public, "fleet", "prod"),
        "has a signature for something else": (text + key.sign(text, "git"), "web1", key.public, "fleet", "main"),
        "is not signed": (text, "web1", key.public, "fleet", "main"),
        "is too large": (raw + b"x" * 70_000, "web1", key.public, "fleet", "main"),
    }
    for why, (given, host, public, origin, branch) in cases.items():
        with pytest.raises(NotGenuine, match=why):
            report_of(given, host, public, origin, branch)


def test_not_one_changed_byte_goes_unnoticed(raw: bytes, key: Key) -> None:
    for at in range(0, len(raw), 7):
        changed = raw[:at] + bytes((raw[at] ^ 1,)) + raw[at + 1 :]
        with pytest.raises(NotGenuine):
            report_of(changed, "web1", key.public, "fleet", "main")


@pytest.mark.parametrize(
    "change",
    [
        {"n": MOST_N}, {"n": 0}, {"n": True}, {"n": "1"}, {"n": -1}, {"version": 2}, {"host": "web2"}, {"head": "main"},
        {"runs": [{"commit": A, "state": "well", "well_s": -1}]},
        {"runs": [{"commit": A, "state": "fine", "well_s": 1}]},
        {"runs": [{"commit": A, "state": "well", "well_s": 10**400}]},
        {"runs": [{"commit": A, "state": "well", "well_s": float("nan")}]}, {"runs": [{"commit": None}]}, {"runs": 3},
        {"runs": [{"commit": A, "state": "well", "well_s": 1}] * 101}, {"bad": ["x"]}, {"held": "maybe"}, {"bad": {}},
    ],
)  # fmt: skip
def test_a_report_that_says_what_none_can_say_does_not_count(change: dict[str, object], key: Key) -> None:
    text = report_text(REPORT, "fleet", "main", BLOB, 0.0).decode()
    head, _, facts = text.partition("\n\n")
    given = f"{head}\n\n{json.dumps(json.loads(facts) | change)}\n".encode()
    if change == {"bad": {}}:
        assert report_of(signed(given, key.file.read_bytes()), "web1", key.public, "fleet", "main").bad == ()
        return
    with pytest.raises(NotGenuine, match="is not understood"):
        report_of(signed(given, key.file.read_bytes()), "web1", key.public, "fleet", "main")


def test_a_key_that_cannot_sign_is_told_without_its_content(tmp_path: Path) -> None:
    rsa = make_key(tmp_path / "rsa", "rsa")
    with pytest.raises(ValueError, match=r"^is no key of ssh-ed25519$"):
        signed(b"x\n", rsa.file.read_bytes())
    with pytest.raises(ValueError, match=r"^is no private key of OpenSSH without a passphrase$"):
        signed(b"x\n", b"SECRET")
