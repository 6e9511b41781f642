"""Filter the system calls of this process, and of all it starts: seccomp(2).

A filter is a list of rules; of those about one call, the first that holds counts. A call that none holds for is
allowed.
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
_FEW_SPANS = 3


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

    So are those of other architectures, of which the same process could make some. Rules are looked for by halves of
    the numbers: the kernel goes through the filter for each of some 900 numbers as it takes it on.
    """
    program = [
        _instruction(_LOAD, _ARCH),
        _instruction(_EQUAL, _ARCHES[machine], 1, 0),
        _instruction(_RETURN, _ERRNO | _EPERM),
        _instruction(_LOAD, _NUMBER),
        _instruction(_AT_LEAST, unknown_from, 0, 1),
        _instruction(_RETURN, _ERRNO | unknown_error),
    ]
    bodies: dict[int, list[bytes]] = {}
    for rule in rules:
        bodies[rule.call] = bodies.get(rule.call, []) + _assembled(rule)
    allowed = _instruction(_RETURN, _ALLOW)
    ends = {rule.call: [allowed] if rule.where else [] for rule in rules}  # by the last about each call
    spans: list[tuple[int, int, list[bytes]]] = []
    for number in sorted(bodies):
        body = bodies[number] + ends[number]
        if spans and spans[-1][1:] == (number - 1, body):
            spans[-1] = (spans[-1][0], number, body)
        else:
            spans.append((number, number, body))
    return b"".join(program + _looked_for(spans))


def _looked_for(spans: "list[tuple[int, int, list[bytes]]]") -> "list[bytes]":
    """Assemble what finds the span that a number is in, each with its first and its last, and goes through its body."""
    if len(spans) > _FEW_SPANS:
        middle = len(spans) // 2
        below, above = _looked_for(spans[:middle]), _looked_for(spans[middle:])
        return [_instruction(_AT_LEAST, spans[middle][0], len(below), 0), *below, *above]
    found: list[bytes] = []
    for first, last, body in spans:
        if first == last:
            found += [_instruction(_EQUAL, first, 0, len(body)), *body]
        else:
            found.append(_instruction(_AT_LEAST, first, 0, len(body) + 1))
            found += [_instruction(_AT_LEAST, last + 1, len(body), 0), *body]
    return [*found, _instruction(_RETURN, _ALLOW)]


def install(program: bytes) -> None:
    """Take on a filter for good; no_new_privs is set. Raises OSError."""
    buffer, address = address_of(program)
    described = (len(program) // 8).to_bytes(8, "little") + address.to_bytes(8, "little")
    call_libc("prctl", _SET_SECCOMP, _MODE_FILTER, described, 0, 0)
    del buffer


def _assembled(rule: Rule) -> "list[bytes]":
    """Assemble what refuses a call of that number, if its conditions hold; what is next comes behind it."""
    refused = _instruction(_RETURN, _ERRNO | rule.error)
    conditions = [_condition(*where) for where in rule.where]
    # A condition that does not hold leaves for the end of the rule.
    rest, after = [refused], 1
    for condition in reversed(conditions):
        rest = [*condition(after), *rest]
        after = len(rest)
    return rest


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
