"""Open a PostgreSQL database with psql, by the parts of its URI."""

from urllib.parse import SplitResult, parse_qs, unquote

from reconciler.services.provisioner import Client


def from_uri(parts: SplitResult, port: int | None) -> Client:
    """Return the client of a URI's parts; `port` is None for the default."""
    """By the variables of libpq; a socket's directory and the like may be in the query, as libpq has it."""
    query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
    said = {
        "PGHOST": parts.hostname or query.get("host", ""),
        "PGPORT": str(port or query.get("port", "")),
        "PGUSER": unquote(parts.username or ""),
        "PGPASSWORD": unquote(parts.password or ""),
        "PGDATABASE": unquote(parts.path.removeprefix("/")),
        "PGSSLMODE": query.get("sslmode", ""),
        "PGSSLROOTCERT": query.get("sslrootcert", ""),
    }
    return Client(argv=("psql",), environment=said)
