"""Services and grants as the daemon would ask for them, with ids nobody else has."""

import secrets
from pathlib import Path

from reconciler.services.provisioner import Grant, Server, ServiceSpec
from reconciler.vault.secret import Secret

# What has to be quoted somewhere on the way: in SQL, in a URI, in an option file, in a shell.
_AWKWARD = "'\"\\%@:/?# $`;"


def a_service(server: Server, name: str = "blog-db") -> ServiceSpec:
    return ServiceSpec(
        id=secrets.token_hex(6),
        name=name,
        type=server.type,
        plan="free",
        server=server,
        asked={},
        directory=Path("/nonexistent"),
    )


def a_grant(app: str = "blog") -> Grant:
    drawn = secrets.token_hex(6)
    return Grant(id=drawn, app=app, user=f"{app}_{drawn}", password=Secret(f"{secrets.token_urlsafe(24)}{_AWKWARD}"))


class Killed(BaseException):
    """The daemon ends here: nothing of it runs any more."""
