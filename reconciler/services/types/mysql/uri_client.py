"""Open a MySQL or MariaDB database with mysql, by the parts of its URI."""

from urllib.parse import SplitResult, unquote

from reconciler.services.provisioner import Client


def from_uri(parts: SplitResult, port: int | None) -> Client:
    """Return the client of a URI's parts; `port` is None for the default."""
    argv = ["mysql", f"--host={parts.hostname or '127.0.0.1'}", f"--port={port or 3306}"]
    if parts.username:
        argv.append(f"--user={unquote(parts.username)}")
    if parts.path.strip("/"):
        argv.append(f"--database={unquote(parts.path.removeprefix('/'))}")
    return Client(argv=tuple(argv), environment={"MYSQL_PWD": unquote(parts.password or "")})
