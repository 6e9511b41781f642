"""Documents of SOPS: read as SOPS 3.11 wrote those of the corpus, and refused once anything in them was changed."""

import asyncio
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from reconciler.documents.tree import trees_of
from reconciler.vault.dotenv import Unusable
from reconciler.vault.encryption.sops.patterns import Pattern, UnknownPattern
from tests.support.encryption import IDENTITY, Host, a_document, an_identity, write_private
from tests.support.eventually import eventually
from tests.support.site import REPOSITORY, is_gone

SAMPLES = REPOSITORY / "tests" / "corpus" / "encrypted"
SEALED = re.compile(r"ENC\[[^\]]*\]")
NESTED = {
    "database": {
        "user": "ada",
        "password": "correct horse",
        "backup": "battery staple",
        "port": 5432,
        "ratio": 1.5,
        "tls": True,
        "empty": "",
        "nothing": None,
        "hosts": ["one", "two", 3],
        "note": 'several\nlines: "é"\n',
    },
    "public_unencrypted": 12,
    "share_unencrypted": 0.25,
}


@pytest.fixture
def host(tmp_path: Path) -> Host:
    write_private(tmp_path / "age.txt", IDENTITY.read_text())
    return Host(identities=(tmp_path / "age.txt",))


def refusal(host: Host, file: Path) -> str:
    with pytest.raises(Unusable) as refused:
        host.reader.text_of(file)
    told = str(refused.value)
    assert "horse" not in told
    assert "staple" not in told
    return told


@pytest.mark.parametrize("name", ["nested.yaml", "only_encrypted.yaml", "spared.yaml"])
def test_a_yaml_document_is_what_was_encrypted_by_whichever_rule(host: Host, name: str) -> None:
    assert yaml.safe_load(host.reader.text_of(SAMPLES / name)) == NESTED
    assert host.reader.fields_of(SAMPLES / name) == NESTED


def test_what_comments_encrypt_is_read(host: Host) -> None:
    found = host.reader.fields_of(SAMPLES / "comments.yaml")
    assert found == {"a": "plain", "b": "correct horse", "c": ["battery", "staple"]}


def test_a_json_document_is_what_was_encrypted(host: Host) -> None:
    found = json.loads(host.reader.text_of(SAMPLES / "object.json"))
    assert found == {
        "user": "ada", "password": "correct horse", "port": 587, "deep": {"list": ["a", 1.25, None, True]},
        "big_unencrypted": 1e21, "half_unencrypted": 0.5,
    }  # fmt: skip
    assert "587,\n" in host.reader.text_of(SAMPLES / "object.json"), "a whole number stays one"
    assert host.reader.fields_of(SAMPLES / "suffixed.json") == {"a_secret": {"x": "correct horse"}, "b": "plain"}


def test_lines_and_sections_are_read_as_sops_prints_them_without_their_comments(host: Host) -> None:
    lines = 'API_KEY=correct horse\nQUOTED="battery  staple"\nLINES=one\\ntwo\nHOST_unencrypted=db\n'
    assert host.reader.text_of(SAMPLES / "lines.env") == lines
    assert host.reader.variables_of(SAMPLES / "lines.env") == {
        "API_KEY": "correct horse", "QUOTED": "battery  staple", "LINES": "one\\ntwo", "HOST_unencrypted": "db",
    }  # fmt: skip
    sections = "top = correct horse\n\n[db]\nuser = ada\npass = battery staple\n\n[x]\nhost_unencrypted = db\n"
    assert host.reader.text_of(SAMPLES / "sections.ini") == sections


def test_a_file_that_was_encrypted_as_a_whole_is_its_content(host: Host) -> None:
    assert host.reader.value_of(SAMPLES / "whole.txt") == "correct horse"


def test_the_fields_of_a_document_are_variables_if_each_is_text_or_a_number(host: Host) -> None:
    assert host.reader.variables_of(SAMPLES / "flat.yaml") == {
        "API_KEY": "correct horse",
        "PORT": "8080",
        "DEBUG": "false",
    }
    with pytest.raises(Unusable, match="its field 'database' is a mapping; a variable is text or a number"):
        host.reader.variables_of(SAMPLES / "nested.yaml")


@pytest.mark.parametrize("name", ["f.yaml", "f.json"])
def test_a_text_that_looks_like_a_number_stays_that_text(tmp_path: Path, name: str) -> None:
    texts = ["1e3", "0812345", "08", "12e03", "1e-7", ".5", "1_000", "0x1F", "yes", "null", "~", "", "12:30"]
    texts += [
        "2001-01-01",
        " x ",
        "\x85",
        "a\n\n b\n",
        "\u2028",
        "'",
        '"',
        "#",
        "- a",
        "!x",
        "<<",
        "\x1b",
        "\r\n",
        "\ufeff",
    ]
    fields: dict[str, Any] = {f"V{number}": text for number, text in enumerate(texts)}
    fields |= {"big": 2**63 - 1, "id_unencrypted": -(2**63)} if name == "f.yaml" else {"big": 1}
    (tmp_path / name).write_bytes(a_document(name, fields, an_identity(tmp_path / "age.txt")))
    reader = Host(identities=(tmp_path / "age.txt",)).reader
    assert reader.fields_of(tmp_path / name) == fields
    assert reader.variables_of(tmp_path / name) == {field: str(value) for field, value in fields.items()}
    read = json.loads(reader.text_of(tmp_path / name)) if name == "f.json" else None
    if read is None:
        (tree,), problems = trees_of("", reader.text_of(tmp_path / name))
        read, fields = tree.written, {field: str(value) for field, value in fields.items()}
        assert not problems
    assert read == fields


def test_a_document_with_half_of_a_character_is_refused_in_a_sentence(tmp_path: Path) -> None:
    recipient = an_identity(tmp_path / "age.txt")
    host = Host(identities=(tmp_path / "age.txt",))
    for fields in ({"a": "x", "b_unencrypted": "\ud800"}, {"a": "x", "\ud800_unencrypted": "x"}):
        (tmp_path / "f.json").write_bytes(a_document("f.json", fields, recipient))
        assert refusal(host, tmp_path / "f.json").endswith(": it has text with half of a character")


@pytest.mark.parametrize("name", ["f.yaml", "f.json"])
def test_a_value_that_is_no_text_is_refused_in_a_sentence(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(a_document(name, {"a": b"x\xff"}, an_identity(tmp_path / "age.txt")))
    reader = Host(identities=(tmp_path / "age.txt",)).reader
    with pytest.raises(Unusable, match="'a' is not UTF-8 text"):
        reader.variables_of(tmp_path / name)


def changed(tmp_path: Path, name: str, edit: "tuple[str, str] | None" = None) -> Path:
    """A copy of a sample, with one text in place of another, or its first two encrypted values swapped."""
    text = (SAMPLES / name).read_text()
    if edit is None:
        first, second = [value for value in SEALED.findall(text) if ",type:str]" in value][:2]
        after = text.replace(first, "\0").replace(second, first).replace("\0", second)
    else:
        after = text.replace(edit[0], edit[1], 1)
    assert after != text
    (tmp_path / name).write_text(after)
    return tmp_path / name


@pytest.mark.parametrize("name", ["nested.yaml", "object.json", "lines.env", "sections.ini", "flat.yaml"])
def test_values_swapped_between_fields_are_refused(host: Host, tmp_path: Path, name: str) -> None:
    told = refusal(host, changed(tmp_path, name))
    assert "it was changed after it was encrypted, or is cut short: " in told


def test_values_swapped_within_a_list_are_refused_by_the_mac(host: Host, tmp_path: Path) -> None:
    text = (SAMPLES / "nested.yaml").read_text()
    one, two = re.findall(r"- (ENC\[[^\]]*\])", text)[:2]
    (tmp_path / "f.yaml").write_text(text.replace(one, "\0").replace(two, one).replace("\0", two))
    assert refusal(host, tmp_path / "f.yaml").endswith("its MAC is not that of its values")


@pytest.mark.parametrize(
    ("name", "edit", "says"),
    [
        ("nested.yaml", ("public_unencrypted: 12", "public_unencrypted: 13"), "its MAC is not that of its values"),
        (
            "nested.yaml",
            ("    nothing: null\n", "    nothing: null\n    more: x\n"),
            "'database.more' is not encrypted",
        ),
        (
            "only_encrypted.yaml",
            ("user: ada", "user_key: ada"),
            "'database.user_key' is not encrypted as its rule asks",
        ),
        ("nested.yaml", ('empty: ""', 'empty: ""\n    other: ""'), None),
        ("nested.yaml", ("lastmodified: ", "lastmodified: 1"), "its MAC is not what was encrypted there"),
        ("nested.yaml", ("    mac: ENC", "    mac: NEC"), "its MAC is not that of its values"),
        ("nested.yaml", ("_unencrypted\n    version", "_x\n    version"), "is not encrypted as its rule asks"),
        ("object.json", ('"port"', '"prt"'), "'prt' is not what was encrypted there"),
        ("object.json", ('"user"', '"password"'), "it has the field 'password' twice"),
        ("lines.env", ("HOST_unencrypted=db", "HOST_unencrypted=evil"), "its MAC is not that of its values"),
        ("whole.txt", ('"data"', '"dat"'), "'dat' is not what was encrypted there"),
    ],
)
def test_whatever_else_is_changed_is_refused(
    host: Host, tmp_path: Path, name: str, edit: tuple[str, str], says: str | None
) -> None:
    file = changed(tmp_path, name, edit)
    if says is None:  # an empty text is nothing to SOPS: neither encrypted nor part of the MAC
        assert host.reader.fields_of(file)["database"]["other"] == ""
    else:
        assert says in refusal(host, file)


@pytest.mark.parametrize("name", ["nested.yaml", "object.json", "lines.env", "sections.ini", "whole.txt"])
def test_a_document_cut_short_anywhere_is_refused_or_whole(host: Host, tmp_path: Path, name: str) -> None:
    text = (SAMPLES / name).read_text().rstrip()
    first = SEALED.search(text)
    assert first is not None
    whole, file = host.reader.text_of(SAMPLES / name), tmp_path / name
    for length in range(first.start() + 16, len(text), 7):
        file.write_text(text[:length])
        found = outcome(host, file)
        assert found == whole or found.startswith(f"cannot open {file}: it "), length


def outcome(host: Host, file: Path) -> str:
    try:
        return host.reader.text_of(file)
    except Unusable as refused:
        return str(refused)


def test_to_whom_a_document_is_encrypted_is_said(tmp_path: Path) -> None:
    ours = an_identity(tmp_path / "age.txt")
    host = Host(identities=(tmp_path / "age.txt",))
    (theirs,) = re.findall(r"recipient: (age1\S+)", (SAMPLES / "nested.yaml").read_text())
    assert refusal(host, SAMPLES / "nested.yaml") == (
        f"cannot open {SAMPLES / 'nested.yaml'}: it is encrypted to {theirs}, and this host has {ours}; encrypt it to"
        " that, too"
    )
    text = (
        (SAMPLES / "nested.yaml")
        .read_text()
        .replace("    age:\n", "    pgp:\n        - {fp: 85D77543, enc: x}\n    ag:\n")
    )
    (tmp_path / "f.yaml").write_text(text)
    assert "it is encrypted to PGP 85D77543, and this host has" in refusal(host, tmp_path / "f.yaml")


def test_a_document_for_too_many_or_for_several_groups_is_refused(host: Host, tmp_path: Path) -> None:
    text = (SAMPLES / "object.json").read_text()
    found = json.loads(text)
    entry = found["sops"]["age"][0]
    found["sops"]["age"] = [entry] * 1001
    (tmp_path / "f.json").write_text(json.dumps(found))
    assert "it is encrypted to more than 1000 recipients" in refusal(host, tmp_path / "f.json")
    del found["sops"]["age"]
    found["sops"]["key_groups"] = [{"age": [entry]}, {"age": [entry]}]
    (tmp_path / "f.json").write_text(json.dumps(found))
    assert "split over several groups of keys; name a program in 'git.open'" in refusal(host, tmp_path / "f.json")
    found["sops"]["key_groups"] = [{"age": [entry]}]
    (tmp_path / "f.json").write_text(json.dumps(found))
    assert host.reader.fields_of(tmp_path / "f.json")["user"] == "ada"


@pytest.mark.parametrize(
    "content",
    [
        '{"sops": {"mac": "ENC[AES256_GCM,data:"}}',
        '{"a": ' * 5000 + '"ENC[AES256_GCM,"' + "}" * 5000,
        "a: " + "[" * 5000 + "ENC[AES256_GCM,",
        "sops: ENC[AES256_GCM,",
        "a: &a [ENC[AES256_GCM,]\nb: [*a, *a]\nsops: {}\n",
        "[sops]\nage__list_0__map_enc = x\nage__list_0 = y\nmac = ENC[AES256_GCM,\n",
        "sops_mac=ENC[AES256_GCM,\nsops_age__list_99999999999__map_enc=x\n",
        "\udcff ENC[AES256_GCM,",
        "just text with ENC[AES256_GCM, in it",
    ],
)
def test_what_only_looks_like_a_document_is_refused_in_a_sentence(host: Host, tmp_path: Path, content: str) -> None:
    (tmp_path / "f").write_bytes(content.encode("utf-8", "surrogateescape"))
    told = refusal(host, tmp_path / "f")
    assert told.startswith(f"cannot open {tmp_path / 'f'}: it")
    assert len(told) < 400


# Rules of strangers


@pytest.mark.parametrize(
    "pattern",
    [
        "^(data|stringData)$", "pass(word)?", "^.*_key$", "[A-Z]+_?[0-9]*", "a{2,3}b", "^$", "x|y|", "(?i)SeCret",
        "[^a-z]", r"\d+\.\w", "(?:ab)+c", "a.c", "[]a]", "[a-]", "^(password|.*[Tt]oken.*)$", "a{2}", "b{1,}?", r"\$",
    ],
)  # fmt: skip
def test_an_expression_matches_what_pythons_matches(pattern: str) -> None:
    names = ["data", "stringData", "password", "pass", "API_KEY", "my_key", "aab", "aaab", "ab", "", "x", "SECRET"]
    names += ["abc", "ababc", "a1.b", "-", "]", "authToken", "KEY_9", "a\nc", "bb", "$", "é"]
    for name in names:
        assert Pattern(pattern).is_in(name) is (re.search(pattern, name, re.ASCII) is not None), name


@pytest.mark.parametrize(
    "pattern",
    ["(", ")", "a**", "*", "a{1000}", "[z-a]", "[", "\\", r"\p{L}", "(?P<a>b)", "[[:alpha:]]", r"\b", "a" * 600],
)
def test_an_expression_that_is_not_known_is_refused(pattern: str) -> None:
    with pytest.raises(UnknownPattern):
        Pattern(pattern)


@pytest.mark.parametrize(
    "pattern",
    ["(" * 19 + ")" * 19, "((((){100}){100}){100}){100}", "(a|a)*" * 50 + "$", "((a{100}){100}){100}", "(a*)*b"],
)
def test_no_expression_takes_long(pattern: str) -> None:
    try:
        compiled = Pattern(pattern)
        for _ in range(50):
            compiled.is_in("a" * 2000 + "c")
    except UnknownPattern:
        pass


def test_a_rule_that_cannot_be_used_is_told(host: Host, tmp_path: Path) -> None:
    file = changed(tmp_path, "spared.yaml", ("(?i)^PORT$|ratio", "(?P<x>y)"))
    assert "its unencrypted_regex cannot be used: it has a group of a kind" in refusal(host, file)


# A program in place of an identity


def program(tmp_path: Path, code: str) -> tuple[str, ...]:
    (tmp_path / "program.py").write_text(code)
    return (sys.executable, "-I", "-S", str(tmp_path / "program.py"), "decrypt")


def test_a_program_opens_what_no_identity_opens_and_gets_the_path_as_its_last_word(tmp_path: Path) -> None:
    words = program(tmp_path, "import sys; print('A: ' + '|'.join(sys.argv[1:]))")
    host = Host(open_command=words)
    assert host.reader.variables_of(SAMPLES / "flat.yaml") == {"A": f"decrypt|{SAMPLES / 'flat.yaml'}"}
    write_private(tmp_path / "age.txt", IDENTITY.read_text())
    ours = Host(identities=(tmp_path / "age.txt",), open_command=words)
    assert ours.reader.variables_of(SAMPLES / "flat.yaml")["API_KEY"] == "correct horse"


def test_a_program_that_opens_all_is_not_asked_for_what_was_changed(host: Host, tmp_path: Path) -> None:
    words = program(tmp_path, "print('A: 1')")
    told = refusal(Host(identities=host.identities, open_command=words), changed(tmp_path, "flat.yaml"))
    assert "it was changed after it was encrypted" in told


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("raise SystemExit(3)", "of 'git.open' ended with status 3; run it by hand to see why"),
        ("print('x' * 2000000)", "of 'git.open' printed more than 1 MiB"),
        ("print()", "of 'git.open' printed nothing; run it by hand to see why"),
    ],
)
def test_a_program_that_fails_is_told_without_what_it_said(tmp_path: Path, code: str, says: str) -> None:
    assert says in refusal(Host(open_command=program(tmp_path, code)), SAMPLES / "flat.yaml")
    told = refusal(Host(open_command=("/nonexistent/sops",)), SAMPLES / "flat.yaml")
    assert told.endswith("cannot run /nonexistent/sops of 'git.open': there is no such program")


def test_a_program_that_hangs_is_ended_with_all_it_started(tmp_path: Path) -> None:
    from reconciler.vault.encryption import program as programs
    from reconciler.vault.encryption.age import CannotOpen

    (tmp_path / "p.py").write_text(
        "import pathlib, subprocess, time\n"
        "child = subprocess.Popen(['sleep', '1000'], start_new_session=True)\n"
        f"pathlib.Path({str(tmp_path / 'new')!r}).write_text(str(child.pid))\n"
        f"pathlib.Path({str(tmp_path / 'new')!r}).rename({str(tmp_path / 'child')!r})\n"
        "time.sleep(1000)"
    )
    within_s = 1.0
    while not (tmp_path / "child").exists():
        with pytest.raises(CannotOpen, match="did not end within"):
            programs.opened((sys.executable, "-I", "-S", str(tmp_path / "p.py")), Path("/f"), within_s)
        within_s *= 3
    eventually(lambda: is_gone(int((tmp_path / "child").read_text())))


def test_a_program_that_hangs_keeps_no_other_work_from_its_thread(tmp_path: Path) -> None:
    go = tmp_path / "go"
    code = f"import os, time\nwhile not os.path.exists({str(go)!r}): time.sleep(0.01)\nprint('A: x')"
    reader = Host(open_command=program(tmp_path, code)).reader
    asked = (os.cpu_count() or 1) + 5  # one more than asyncio has threads for

    async def story() -> list[dict[str, str]]:
        async with asyncio.timeout(60), asyncio.TaskGroup() as opening:
            tasks = [
                opening.create_task(reader.in_thread(reader.variables_of, SAMPLES / "flat.yaml")) for _ in range(asked)
            ]
            try:
                async with asyncio.timeout(20):
                    await asyncio.to_thread(str)
            finally:
                go.touch()
        return [task.result() for task in tasks]

    assert asyncio.run(story()) == [{"A": "x"}] * asked
