"""The filter of system calls, run by an interpreter of its instructions: what it refuses, with what error."""

import errno

import pytest

from reconciler.isolation.refused_calls import refusals

ALLOWED = 0
_ARCHES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}


def run(machine: str, call: int, *arguments: int, arch: int | None = None, connects: bool = True) -> int:
    """Return the error number that a call gets, 0 for none."""
    program = refusals(machine, connects=connects)
    steps = [program[at : at + 8] for at in range(0, len(program), 8)]
    given = dict(enumerate(arguments))
    value, at = 0, 0
    while True:
        code, if_so, if_not = int.from_bytes(steps[at][:2], "little"), steps[at][2], steps[at][3]
        number = int.from_bytes(steps[at][4:], "little")
        at += 1
        match code:
            case 0x20:
                loads = {0: call, 4: _ARCHES[machine] if arch is None else arch}
                value = loads[number] if number in loads else given.get((number - 16) // 8, 0) & 0xFFFFFFFF
            case 0x15 | 0x35 | 0x45:
                holds = {0x15: value == number, 0x35: value >= number, 0x45: bool(value & number)}[code]
                at += if_so if holds else if_not
            case 0x06:
                return number & 0xFFFF if number >> 16 == 5 else ALLOWED


X86 = {"read": 0, "mount": 165, "clone": 56, "socket": 41, "setsockopt": 54, "ioctl": 16, "fcntl": 72, "ptrace": 101}
ARM = {"read": 63, "mount": 40, "clone": 220, "socket": 198, "setsockopt": 208, "ioctl": 29, "fcntl": 25, "ptrace": 117}


@pytest.mark.parametrize(("machine", "calls"), [("x86_64", X86), ("aarch64", ARM)])
def test_what_apps_do_is_allowed_and_what_attackers_do_is_refused(machine: str, calls: dict[str, int]) -> None:
    assert run(machine, calls["read"]) == ALLOWED
    assert run(machine, calls["mount"]) == run(machine, calls["ptrace"]) == errno.EPERM
    assert run(machine, 435) == errno.ENOSYS  # clone3, for which the C library uses clone


@pytest.mark.parametrize(("machine", "calls"), [("x86_64", X86), ("aarch64", ARM)])
def test_some_calls_are_refused_for_their_arguments(machine: str, calls: dict[str, int]) -> None:
    assert run(machine, calls["clone"], 0x01200011) == ALLOWED
    assert run(machine, calls["clone"], 0x10000000) == errno.EPERM
    for family in (1, 2, 10, 16):
        assert run(machine, calls["socket"], family) == ALLOWED
    for family in (0, 17, 38, 40):
        assert run(machine, calls["socket"], family) == errno.EAFNOSUPPORT
    for option in (26, 27, 44, 50, 51, 52, 68):
        assert run(machine, calls["setsockopt"], 3, 1, option) == errno.EPERM
        assert run(machine, calls["setsockopt"], 3, 6, option) == ALLOWED
    assert run(machine, calls["setsockopt"], 3, 1, 15) == ALLOWED  # SO_REUSEPORT
    assert run(machine, calls["ioctl"], 0, 0x5412) == errno.EPERM
    assert run(machine, calls["ioctl"], 0, 0x5401) == ALLOWED
    for command in (1, 4, 6, 1030):  # F_GETFD, F_SETFL, F_SETLK, F_DUPFD_CLOEXEC
        assert run(machine, calls["fcntl"], 3, command) == ALLOWED
    assert run(machine, calls["fcntl"], 3, 1024) == errno.EACCES  # F_SETLEASE


@pytest.mark.parametrize(
    ("machine", "calls", "priority", "io"),
    [("x86_64", (302, 203, 144, 142, 314), 141, 251), ("aarch64", (261, 122, 119, 118, 274), 140, 30)],
)
def test_a_process_changes_its_own_limits_and_priority_only(
    machine: str, calls: tuple[int, ...], priority: int, io: int
) -> None:
    for call in calls:
        assert run(machine, call, 0, 7) == ALLOWED
        assert run(machine, call, 4711, 7) == errno.EPERM
    for call in (priority, io):
        assert run(machine, call, 0, 0) == ALLOWED
        assert run(machine, call, 0, 4711) == errno.EPERM
    assert run(machine, priority, 2, 0) == errno.EPERM  # all processes of the user


@pytest.mark.parametrize(("machine", "socket", "option"), [("x86_64", 41, 54), ("aarch64", 198, 208)])
def test_what_landlock_does_not_take_for_tcp_is_refused(machine: str, socket: int, option: int) -> None:
    for protocol in (0, 1, 6, 17, 58, 136):
        assert run(machine, socket, 2, 1, protocol) == ALLOWED
    for protocol in (256, 261, 262):  # SMC, QUIC, MPTCP
        assert run(machine, socket, 2, 1, protocol) == errno.EPROTONOSUPPORT
    assert run(machine, option, 3, 6, 1) == ALLOWED  # TCP_NODELAY
    assert run(machine, option, 3, 6, 31) == errno.EPERM  # TCP_ULP, which makes SMC of TCP
    assert run(machine, option, 3, 0, 1) == ALLOWED  # IP_TOS
    assert run(machine, option, 3, 0, 51) == errno.EPERM  # IP_LOCAL_PORT_RANGE: any port, without bind()


@pytest.mark.parametrize(("machine", "sends"), [("x86_64", (44, 46, 307)), ("aarch64", (206, 211, 269))])
def test_without_a_network_no_socket_of_one_is_opened_and_none_connects_by_sending(
    machine: str, sends: tuple[int, int, int]
) -> None:
    socket = {"x86_64": 41, "aarch64": 198}[machine]
    assert run(machine, socket, 1, connects=False) == ALLOWED
    for family in (2, 10, 17, 40):
        assert run(machine, socket, family, connects=False) == errno.EAFNOSUPPORT
    fast = 0x20000000
    for call, flags in zip(sends, (3, 2, 3), strict=True):
        given = [0] * flags
        assert run(machine, call, *given, 0x4000, connects=False) == ALLOWED  # MSG_NOSIGNAL
        assert run(machine, call, *given, fast | 0x4000, connects=False) == errno.EPERM
        assert run(machine, call, *given, fast) == ALLOWED


def test_other_architectures_and_later_calls_are_refused() -> None:
    assert run("x86_64", 0, arch=0x40000003) == errno.EPERM
    assert run("x86_64", 0x40000000) == errno.ENOSYS
    assert run("x86_64", 1000) == errno.ENOSYS


def test_a_machine_without_a_list_has_no_filter() -> None:
    with pytest.raises(KeyError):
        refusals("sparc64")
