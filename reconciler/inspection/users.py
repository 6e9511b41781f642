"""Tell which users the processes of apps run as, as the kernel has it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from reconciler.linux.process_identity import owner_of

if TYPE_CHECKING:
    from reconciler.state.records import InstanceRecord

_PROVED = "\nheld user\n"


def own_user(records: "Sequence[InstanceRecord]") -> int | None:
    """Return the user of the newest of these instances of an app that has proved to have one of its own."""
    pid = next((record.pid for record in reversed(records) if record.pid and _PROVED in record.isolation), None)
    return None if pid is None else owner_of(pid)


def name_of(user: int | None) -> str:
    """Return a user as this host names it, or else its number; "-" for none."""
    import pwd  # most commands show no user

    if user is None:
        return "-"
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)
