"""Open a Redis database with redis-cli, by the parts of its URI."""

from urllib.parse import SplitResult, unquote

from reconciler.services.provisioner import Client


def from_uri(parts: SplitResult, port: int | None) -> Client:
    """Return the client of a URI's parts; `port` is None for the default."""
    argv = ["redis-cli", "-h", parts.hostname or "127.0.0.1", "-p", str(port or 6379)]
    if parts.username:
        argv += ["--user", unquote(parts.username)]
    if parts.path.strip("/").isdigit():
        argv += ["-n", parts.path.strip("/")]
    if parts.scheme == "rediss":
        argv.append("--tls")
    return Client(argv=tuple(argv), environment={"REDISCLI_AUTH": unquote(parts.password or "")})
