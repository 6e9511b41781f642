"""A file of allowed signers is understood as a whole or refused, with the line that is not understood."""

import base64
import os
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.manifests.git.signers import Signers, fingerprint, signers_of

FILE = "/etc/reconciler/allowed_signers"


def wire(*parts: bytes) -> bytes:
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def key(kind: str = "ssh-ed25519", *parts: bytes) -> str:
    return f"{kind} {base64.b64encode(wire(kind.encode(), *(parts or (bytes(32),)))).decode()}"


KEY = key()
RSA = key("ssh-rsa", b"\1\0\1", b"\xff" * 256)


def understood(text: str) -> Signers:
    found = signers_of(FILE, text.encode())
    assert isinstance(found, Signers), found
    return found


def refused(content: str | bytes) -> Sequence[str]:
    found = signers_of(FILE, content if isinstance(content, bytes) else content.encode())
    assert isinstance(found, list)
    return [str(problem) for problem in found]


def test_lines_are_read_with_their_options() -> None:
    text = f"""\
# people
alice@example.com,alice@home {KEY} Alice's "laptop

"bob@example.com"\tnamespaces="git,file",valid-after="20200101",valid-before="202501011200Z" {RSA}\r
*@example.com cert-authority {KEY}
"""
    alice, bob, authority = understood(text).signers
    assert (alice.principals, alice.line, alice.options) == (("alice@example.com", "alice@home"), 2, "")
    assert (bob.namespaces, bob.key_type) == (("git", "file"), "ssh-rsa")
    assert bob.valid_before == datetime(2025, 1, 1, 12, tzinfo=UTC).timestamp()
    assert bob.valid_after == datetime(2020, 1, 1).astimezone().timestamp()
    assert authority.is_authority
    assert understood(text).content.decode().splitlines() == [
        f"alice@example.com,alice@home {KEY}",
        f'bob@example.com namespaces="git,file",valid-after="20200101",valid-before="202501011200Z" {RSA}',
        f"*@example.com cert-authority {KEY}",
    ]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (
            f'a@b namespaces="git" valid-before="20250101" {KEY}',
            "1:5: has a space between its options; expected a comma",
        ),
        (f'a@b namespaces="git", valid-before="20250101" {KEY}', "1:5: has a space between its options"),
        (f'a@b cert-authority namespaces="git" {KEY}', "1:5: has a space between its options"),
        (f'a@b namespaces="git", {KEY}', "1:22: has a comma after its last option"),
        (f"a@b namespaces=git {KEY}", "1:5: has an option that is not understood"),
        (f"a@b namespaces {KEY}", "1:5: has the option 'namespaces'; expected a value in quotes"),
        (f'a@b cert-authority="x" {KEY}', "1:5: has the option 'cert-authority'; expected no value"),
        (f'a@b valid-until="20250101" {KEY}', "1:5: has the option 'valid-until', which is not known"),
        (f'a@b valid-before="20250101",Valid-Before="20990101" {KEY}', "1:29: has the option 'valid-before' twice"),
        (f'a@b valid-before="2025-01-01" {KEY}', "1:5: has the time '2025-01-01'; expected YYYYMMDD"),
        (f'a@b valid-before="20250231" {KEY}', "1:5: has the time '20250231'"),
        (f'a@b valid-before="" {KEY}', "1:5: has the time ''"),
        (f'a@b valid-after="20250101",valid-before="20250101" {KEY}', "1:5: is never valid"),
        (f'a@b namespaces="" {KEY}', "1:5: has an empty namespace"),
        (f'a@b namespaces="git,," {KEY}', "1:5: has an empty namespace"),
        (f'a@b namespaces="g\\"it" {KEY}', "1:5: has a quotation mark that is not closed"),
        (f"a@b, {KEY}", "1:1: has an empty principal"),
        (f'"a b" {KEY}', "1:1: has an empty principal, or one with a space"),
        (f'a"b {KEY}', "1:1: has a quotation mark that is not closed"),
        (f"!a@b,*@b {KEY}", "1:1: excludes a principal, which only a certificate authority can"),
        ("a@b", "1:1: expected 'alice@example.com ssh-ed25519 AAAA…'"),
        (KEY, "1:1: expected 'alice@example.com ssh-ed25519 AAAA…'"),
        ("a@b ssh-ed25519", "1:1: expected 'alice@example.com"),
        (f'a@b valid-before="20250101" {"x"}', "1:5: has options and no key"),
        (f"a@b {key('ssh-dss', b'1', b'2', b'3', b'4')}", "1:5: has a key of the type 'ssh-dss'; expected one of"),
        (f"a@b {key('ssh-ed25519-cert-v01@openssh.com')}", "1:5: has a certificate as its key"),
        (f"a@b ssh-ed25519 {KEY.split()[1][:-4]}", "1:17: has a key that is damaged"),
        (f"a@b ssh-ed25519 {KEY.split()[1]}!", "1:17: has a key that is damaged"),
        (f"a@b ssh-rsa {KEY.split()[1]}", "1:13: has a key that is damaged"),
        (f"a@b {key('ssh-ed25519', bytes(31))}", "1:17: has a key that is damaged"),
        (f"a@b {key('ssh-rsa', b'3', bytes(1) + b'f' * 128)}", "1:13: has an RSA key of less than 2048 bits"),
        (f"a@b\u200b {KEY}", "1:1: has characters that do not print"),
        (f"a@b\0 {KEY}", "1:1: has characters that do not print"),
        (f"a@b\x0b{KEY}", "1:1: has characters that do not print"),
    ],
)
def test_a_line_that_is_not_understood_refuses_the_file_as_a_whole(line: str, problem: str) -> None:
    (found,) = refused(line)
    assert found.startswith(f"{FILE}:{problem}")
    (found,) = refused(f"good@b {KEY}\n{line}\nother@b {RSA}\n")
    assert found.startswith(f"{FILE}:2{problem.removeprefix('1')}")


def test_every_line_that_is_not_understood_is_told() -> None:
    assert [each.split(":")[1] for each in refused(f"a\ngood@b {KEY}\nb\n  c\n")] == ["1", "3", "4"]
    assert refused(f"  a@b namespaces=git {KEY}")[0].startswith(f"{FILE}:1:7:")


def test_a_file_without_a_signer_is_refused() -> None:
    for text in ("", "# nobody\n", "\n\n"):
        assert refused(text)[0].startswith(f"{FILE}:1:1: names no signer")


def test_a_file_that_is_no_text_or_too_large_is_refused() -> None:
    assert refused(b"a\n\xff") == [f"{FILE}:2:1: is not UTF-8"]
    assert refused(b"#" * 2_000_000) == [f"{FILE}:1:1: is larger than 1024 KiB"]


def test_what_is_trusted_changes_when_a_key_is_removed_and_when_one_ends() -> None:
    both = understood(f'a@b {KEY}\nb@b valid-before="20300101Z" {RSA}\n')
    end = datetime(2030, 1, 1, tzinfo=UTC).timestamp()
    assert both.trusted(0) == both.trusted(end)
    assert both.trusted(end + 1) != both.trusted(end)
    assert both.trusted(end + 1) == understood(f"# another\na@b  {KEY} comment\n").trusted(0)


@given(st.text(max_size=80), st.text(max_size=40))
def test_any_text_is_understood_or_refused_and_understood_again(one: str, other: str) -> None:
    for text in (f"{one}{other}", f"{one} {KEY}", f"a@b {one} {KEY}", f'a@b valid-before="{one}" {KEY} {other}'):
        found = signers_of(FILE, text.encode(errors="surrogatepass"))
        if isinstance(found, Signers):
            again = signers_of(FILE, found.content)
            assert isinstance(again, Signers)
            assert again.content == found.content
        else:
            assert all(problem.message.isprintable() for problem in found)


def test_a_space_between_options_is_only_warned_of_by_ssh_keygen(tmp_path: Path) -> None:
    """The control: the file is used, and the key with it, by a program that reads it line by line."""
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    for name in ("good", "bad"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", tmp_path / name], env=env, check=True
        )
    good, bad = ((tmp_path / f"{name}.pub").read_text().strip() for name in ("good", "bad"))
    signers = tmp_path / "signers"
    signers.write_text(f'bad@b namespaces="git" valid-before="20990101" {bad}\ngood@b {good}\n')
    (tmp_path / "text").write_text("text")
    subprocess.run(
        ["ssh-keygen", "-q", "-Y", "sign", "-f", tmp_path / "good", "-n", "git", tmp_path / "text"], env=env, check=True
    )
    done = subprocess.run(
        ["ssh-keygen", "-Y", "verify", "-f", signers, "-I", "good@b", "-n", "git", "-s", tmp_path / "text.sig"],
        input=b"text", env=env, check=False, capture_output=True,
    )  # fmt: skip
    assert done.returncode == 0
    assert refused(signers.read_text())[0].startswith(f"{FILE}:1:7: has a space between its options")
    understood(f"good@b {good}\n")
    assert fingerprint(base64.b64decode(good.split()[1])) in done.stdout.decode()
