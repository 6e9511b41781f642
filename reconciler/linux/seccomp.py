"""Filter the system calls of this process, and of all it starts: seccomp(2).

A filter is a list of rules, tried in order; a call that none of them is about is allowed.
"""

from reconciler.linux.kernel_calls import address_of, call_libc

TYPE_CHECKING = False  # as that of `typing`, which takes a while to load
if TYPE_CHECKING:
    from collections.abc import Callable

_SET_SECCOMP, _MODE_FILTER = 22, 2
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCH, _ARGUMENTS = 0, 4, 16  # of struct seccomp_data
_ARCHES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_EPERM = 1


class Rule:
    """One refusal: of a system call, or of one with certain arguments, with an error number.

    `where` are conditions that all have to hold: the number of an argument, of which the low 32 bits count; how it is
    compared, `in`, `not in` or `bits`; and the numbers.
    """

    def __init__(self, call: int, error: int, *where: "tuple[int, str, tuple[int, ...]]") -> None:
        """Refuse a call by its number."""
        self.call, self.error, self.where = call, error, where


def filter_of(machine: str, rules: "list[Rule]", unknown_from: int, unknown_error: int) -> bytes:
    """Assemble a filter; calls with numbers from `unknown_from` on are refused. Raises KeyError for other machines.

    So are those of other architectures, of which the same process could make some.
    """
    program = [
        _instruction(_LOAD, _ARCH),
        _instruction(_EQUAL, _ARCHES[machine], 1, 0),
        _instruction(_RETURN, _ERRNO | _EPERM),
        _instruction(_LOAD, _NUMBER),
        _instruction(_AT_LEAST, unknown_from, 0, 1),
        _instruction(_RETURN, _ERRNO | unknown_error),
    ]
    for rule in rules:
        program += _assembled(rule)
    program.append(_instruction(_RETURN, _ALLOW))
    return b"".join(program)


def install(program: bytes) -> None:
    """Take on a filter for good; no_new_privs is set. Raises OSError."""
    buffer, address = address_of(program)
    described = (len(program) // 8).to_bytes(8, "little") + address.to_bytes(8, "little")
    call_libc("prctl", _SET_SECCOMP, _MODE_FILTER, described, 0, 0)
    del buffer


def _assembled(rule: Rule) -> "list[bytes]":
    refused = _instruction(_RETURN, _ERRNO | rule.error)
    conditions = [_condition(*where) for where in rule.where]
    # A condition that does not hold leaves for the end of the rule, where the number is loaded again.
    rest, after = [refused], 1
    for condition in reversed(conditions):
        rest = [*condition(after), *rest]
        after = len(rest)
    if conditions:
        rest.append(_instruction(_LOAD, _NUMBER))
    return [_instruction(_EQUAL, rule.call, 0, len(rest)), *rest]


def _condition(argument: int, how: str, numbers: "tuple[int, ...]") -> "Callable[[int], list[bytes]]":
    """Return a function that assembles a condition, given how many instructions follow that it leaves out."""

    def assembled(after: int) -> "list[bytes]":
        loaded = [_instruction(_LOAD, _ARGUMENTS + 8 * argument)]
        if how == "bits":
            return [*loaded, _instruction(_ANY_BIT, numbers[0], 0, after)]
        tests = []
        for left, number in reversed(list(enumerate(numbers))):
            behind = len(numbers) - 1 - left
            if how == "in":
                tests.append(_instruction(_EQUAL, number, behind, after if behind == 0 else 0))
            else:
                tests.append(_instruction(_EQUAL, number, behind + after, 0))
        return [*loaded, *reversed(tests)]

    return assembled


def _instruction(code: int, value: int, if_so: int = 0, if_not: int = 0) -> bytes:
    return code.to_bytes(2, "little") + bytes((if_so, if_not)) + value.to_bytes(4, "little")
