"""What an isolated instance sees, as arguments; and what is made of its proof."""

import string
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from reconciler.isolation.main import read
from reconciler.planning.isolation.confinement import (
    Confinement,
    HeldTo,
    Isolated,
    Part,
    Proof,
    desired_parts,
    held_to,
    proof_of,
    refusal,
)

SEEN = Confinement(
    isolation="strict",
    visible=("/usr", "/srv/a=b"),
    writable=("/state/homes/shop",),
    hidden=("/etc/shadow",),
    cells=("/sys/fs/cgroup/x/cgroup.procs",),
    shut=("/state/reconciler.db",),
    alone=("/state/homes",),
    fixed=("/state/environments/x",),
    access_log="/state/logs/shop/access.log",
    directory="/state/apps/shop/builds/x/code",
    connects="ports",
    ports=("53", "443"),
    loose="UDP is not held",
    listens="all",
    daemon=4711,
    uid=70001,
    gid=70001,
    required=("files", "syscalls"),
)
PROVED = Proof(
    isolation="strict",
    held=("files", "processes", "syscalls"),
    missing={"user": "it runs as the user of the daemon"},
    tried=21,
)


def test_the_program_that_confines_itself_reads_what_was_said() -> None:
    fields = read(list(SEEN.as_arguments()))
    assert fields == {name: getattr(SEEN, name) for name in Confinement.__dataclass_fields__}
    plain = Confinement(isolation="strict")
    assert read(list(plain.as_arguments())) == {name: getattr(plain, name) for name in Confinement.__dataclass_fields__}


def test_a_proof_is_read_as_it_was_written() -> None:
    assert proof_of(str(PROVED)) == PROVED
    assert PROVED.letters == "U"
    assert PROVED.told == "isolation lacks U (user): it runs as the user of the daemon"


def requiring(*parts: Part, connects: HeldTo = "all") -> Confinement:
    return Confinement(isolation="strict", required=parts, connects=connects)


def test_a_network_is_a_part_of_those_that_ask_to_have_none() -> None:
    apart = replace(PROVED, held=(*PROVED.held, "network"))
    assert proof_of(str(apart)) == apart
    lacking = replace(PROVED, missing={**PROVED.missing, "network": "it could connect"})
    assert proof_of(str(lacking)) == lacking
    assert (lacking.letters, refusal(lacking, requiring("network", connects="none"))) == (
        "UN",
        'isolation requires "network", and it could connect (network.connect)',
    )


def test_half_a_proof_is_none() -> None:
    text = str(PROVED)
    for at in range(len(text)):
        assert proof_of(text[:at]) is None
    assert proof_of(text.replace("held files\n", "")) is None
    assert proof_of(text.replace("tried 21", "tried many")) is None
    assert proof_of(text.replace("isolation strict", "isolation lax")) is None


@given(st.text(alphabet=string.printable))
def test_any_other_text_is_no_proof(text: str) -> None:
    assert proof_of(text) is None or text.splitlines()[-1] == "end"


def test_what_is_required_and_missing_refuses_the_start() -> None:
    assert refusal(PROVED, requiring("files")) == ""
    assert refusal(PROVED, requiring("files", "user")) == (
        'isolation requires "user", and it runs as the user of the daemon (isolation.require of the host\'s settings)'
    )
    lacking = replace(PROVED, missing={"network": "no rules know its user"})
    assert refusal(lacking, requiring("network")) == (
        'isolation requires "network", and no rules know its user (isolation.require of the host\'s settings)'
    )


def test_an_app_that_is_not_isolated_wishes_for_nothing() -> None:
    assert desired_parts("none") == ()
    assert set(desired_parts("user")) < set(desired_parts("strict"))


def test_an_app_without_a_list_is_kept_from_what_it_does_not_name_or_told_why_not() -> None:
    for isolation in (Isolated(kind="strict"), Isolated(kind="strict", connects="listed", places=("all", "10.0.0.1"))):
        assert held_to(isolation, is_held=True) == {"connects": "most"}
        told = held_to(isolation)["loose"]
        assert told.startswith(
            "no rules of the kernel know its user, as that takes a daemon of root, or a warden, and nftables: "
        )
        assert held_to(isolation, why="it has none")["loose"].startswith("it has none: other apps' ports")
    assert held_to(Isolated(kind="user")) == {"connects": "all"}, "it is as other users of the host are"
    assert held_to(Isolated(kind="strict", connects="listed", places=("all",), by_user=True)) == {"connects": "rules"}
