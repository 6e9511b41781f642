"""The program to talk to a service with, as the scheme of its uri tells; the password goes by the environment."""

from collections.abc import Mapping
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from reconciler.planning.fingerprint import Json
from reconciler.services.provisioner import Client, Misconfigured


def by_uri(service: str, credentials: Mapping[str, Json]) -> Client:
    """Return psql, mysql or redis-cli for the `uri` (or `url`) of credentials. Raises Misconfigured if none fits."""
    uri = credentials.get("uri") or credentials.get("url")
    if not isinstance(uri, str) or not uri:
        raise Misconfigured(f"the credentials of {service} have no uri")
    try:
        parts = urlsplit(uri)
        port = parts.port
    except ValueError:
        raise Misconfigured(f"the uri of {service} cannot be read") from None
    opened = _opened(parts, port)
    if opened is None:
        raise Misconfigured(f"the uri of {service} has the scheme {parts.scheme!r}, for which there is no client")
    if any("\0" in text for text in (*opened.argv, *opened.environment.values())):
        raise Misconfigured(f"the uri of {service} cannot be read")
    return opened


def _opened(parts: SplitResult, port: int | None) -> Client | None:
    scheme = parts.scheme.partition("+")[0]
    if scheme in {"postgres", "postgresql"}:
        return _psql(parts, port)
    if scheme in {"mysql", "mysql2", "mariadb"}:
        return _mysql(parts, port)
    if scheme in {"redis", "rediss"}:
        return _redis(parts, port)
    return None


def _psql(parts: SplitResult, port: int | None) -> Client:
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
    return Client(argv=("psql",), environment=_set(said))


def _mysql(parts: SplitResult, port: int | None) -> Client:
    argv = ["mysql", f"--host={parts.hostname or '127.0.0.1'}", f"--port={port or 3306}"]
    if parts.username:
        argv.append(f"--user={unquote(parts.username)}")
    if parts.path.strip("/"):
        argv.append(f"--database={unquote(parts.path.removeprefix('/'))}")
    return Client(argv=tuple(argv), environment=_set({"MYSQL_PWD": unquote(parts.password or "")}))


def _redis(parts: SplitResult, port: int | None) -> Client:
    argv = ["redis-cli", "-h", parts.hostname or "127.0.0.1", "-p", str(port or 6379)]
    if parts.username:
        argv += ["--user", unquote(parts.username)]
    if parts.path.strip("/").isdigit():
        argv += ["-n", parts.path.strip("/")]
    if parts.scheme == "rediss":
        argv.append("--tls")
    return Client(argv=tuple(argv), environment=_set({"REDISCLI_AUTH": unquote(parts.password or "")}))


def _set(said: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in said.items() if value}
