"""Give up privileges for good: capabilities(7), and no_new_privs of prctl(2)."""

from reconciler.linux.kernel_calls import address_of, call_libc, prctl

_CAPBSET_DROP, _NO_NEW_PRIVS, _CAP_AMBIENT, _AMBIENT_CLEAR_ALL = 24, 38, 47, 4
_MOST_CAPABILITIES = 64
SETUID, SETGID, SETPCAP, NET_ADMIN, SYS_CHROOT, SYS_ADMIN = 7, 6, 8, 12, 18, 21  # linux/capability.h
_CAPABILITY_VERSION_3 = 0x20080522


def drop_bounding_set() -> None:
    """Have no program that is executed from here on gain a capability. Raises OSError without the right to."""
    for capability in range(_MOST_CAPABILITIES):
        try:
            prctl(_CAPBSET_DROP, capability)
        except OSError:
            if capability == 0:
                raise
            return  # the kernel knows no more


def drop_capabilities() -> None:
    """Have no capability at all. Raises OSError."""
    try:  # noqa: SIM105  contextlib would have to be loaded
        call_libc("prctl", _CAP_AMBIENT, _AMBIENT_CLEAR_ALL, 0, 0, 0)
    except OSError:  # a kernel before 4.3
        pass
    set_capabilities(effective=0, permitted=0, inheritable=0)


def set_capabilities(*, effective: int, permitted: int, inheritable: int) -> None:
    """Have these capabilities, each a bit by its number. Raises OSError."""
    sets = (effective, permitted, inheritable)
    words = ((each >> shift & 0xFFFFFFFF).to_bytes(4, "little") for shift in (0, 32) for each in sets)
    call_libc("capset", _header(), b"".join(words))


def may(capability: int) -> bool:
    """Whether this process has a capability, by its number."""
    return may_each(capability)[0]


def may_each(*capabilities: int) -> "list[bool]":
    """Whether this process has each of these capabilities, by their numbers."""
    found, address = address_of(bytes(24))
    call_libc("capget", _header(), address)
    words = bytes(found)  # type: ignore[call-overload]  # a buffer
    has = int.from_bytes(words[:4], "little") | int.from_bytes(words[12:16], "little") << 32
    return [bool(has >> each & 1) for each in capabilities]


def _header() -> bytes:
    """Return what says of which process, this one, and in which form; the kernel may write into it."""
    return _CAPABILITY_VERSION_3.to_bytes(4, "little") + bytes(4)


def gain_no_more() -> None:
    """Have no program gain rights by its file: setuid and file capabilities have no effect. Raises OSError."""
    prctl(_NO_NEW_PRIVS, 1)
