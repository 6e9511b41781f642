"""Be told of a signal once until asking again: however many arrive, the handler runs once, and a loop wakes up once."""

import struct

from reconciler.linux.kernel_calls import address_of, call_libc

_ACTION = struct.Struct("P128sIP")  # of sigaction(2), as C libraries have it: handler, mask, flags, restorer
_RESET_HANDLER = 0x80000000  # SA_RESETHAND: after the first signal it does what it does by default


class OnceTold:
    """A signal that has a handler, and is ignored by default. Raises OSError."""

    def __init__(self, number: int) -> None:
        kept, address = address_of(bytes(_ACTION.size))
        call_libc("sigaction", number, None, address)
        handler, mask, flags, restorer = _ACTION.unpack(bytes(kept))  # type: ignore[call-overload]  # a buffer
        self._kept, self._address = address_of(_ACTION.pack(handler, mask, flags | _RESET_HANDLER, restorer))
        self._number = number
        self.ask()

    def ask(self) -> None:
        """Have the next one told."""
        call_libc("sigaction", self._number, self._address, None)
