"""Try a domain step by step, as its clients do, and compare what the proxy has with what it is to have."""

import asyncio
import difflib
import json
import re
import socket
import ssl
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple

from reconciler.linux.error_words import in_words
from reconciler.linux.regular_files import read_file, read_record
from reconciler.planning.routing.caddy import ours_in
from reconciler.planning.routing.domain_names import domain_name
from reconciler.planning.routing.route import CLIENT_HEADER, Front
from reconciler.planning.wording import listed, span
from reconciler.routing.dns import is_here, resolves
from reconciler.routing.handshake import meet

_MOST = 64 * 1024 * 1024
_ANSWER_S = 5.0
_KEY = re.compile("[0-9a-f]{32}(?= )")
_HASH = re.compile(r"\$2[aby]\$[0-9]{2}\$[./A-Za-z0-9]{53}")


class NoProxy(Exception):
    """The daemon has told no proxy anything; says why."""


class Step(NamedTuple):
    """One step of a check: what was tried, how it went, and what was found."""

    what: str
    outcome: Literal["ok", "warn", "fails"]
    found: str


def expires_in(ends_at: float) -> str:
    """Return how long a certificate is still valid, for people."""
    left_s = ends_at - time.time()  # noqa: TID251  a certificate's times are those of the wall clock
    return f"in {span(left_s)}" if left_s > 0 else "expired"


def steps(wanted: Path, rows: Sequence[Mapping[str, Any]], name: str) -> list[Step]:
    """Return the steps of a check of a name, up to and with the first that fails."""
    found: list[Step] = []
    for step in _steps(wanted, rows, name):
        found.append(step)
        if step.outcome == "fails":
            break
    return found


def _steps(wanted: Path, rows: Sequence[Mapping[str, Any]], written: str) -> Iterator[Step]:
    try:
        name = domain_name(written)
    except ValueError as error:
        yield Step("manifests", "fails", f"'{written}' {error}")
        return
    row = next((each for each in rows if each["name"] == name), None)
    if row is None:
        known = listed(sorted({str(each["name"]) for each in rows})) or "none"
        yield Step("manifests", "fails", f"no app in force has {name}; the domains are {known}")
        return
    yield Step("manifests", "ok", f"{row['app']} has it")
    yield _dns(name)
    front, tls = _front(wanted), str(row["url"]).startswith("https:")
    yield _port(front, front.http)
    if tls:
        yield _port(front, front.https)
        yield _handshake(name, front, row)
    yield _answer(name, front, tls=tls)


def _dns(name: str) -> Step:
    addresses = resolves(name)
    if not addresses:
        return Step(
            "DNS", "warn", f"{name} has no address that this host can find: add an A or AAAA record of this host"
        )
    at = listed(addresses)
    if is_here(addresses):
        return Step("DNS", "ok", at)
    return Step(
        "DNS", "warn", f"{at}, none of which this host has: right behind a router or a CDN, else the wrong record"
    )


def _port(front: Front, port: int) -> Step:
    try:
        socket.create_connection((_host(front), port), _ANSWER_S).close()
    except OSError as error:
        why = "'reconciler events' says why the proxy does not listen, or another program has the port"
        return Step(f"port {port}", "fails", f"{error.strerror or error}: {why}")
    return Step(f"port {port}", "ok", "accepts connections on this host")


def _handshake(name: str, front: Front, row: Mapping[str, Any]) -> Step:
    met = asyncio.run(meet(name, front, tls=True))
    if met.trouble:
        return Step("certificate", "fails", str(row["message"]) if row["state"] == "unserved" else met.trouble)
    assert met.ends_at is not None
    valid = met.ends_at > time.time()  # noqa: TID251  a certificate's times are those of the wall clock
    return Step("certificate", "ok" if valid else "fails", f"of {met.issuer}, expires {expires_in(met.ends_at)}")


def _answer(name: str, front: Front, *, tls: bool) -> Step:
    port = front.https if tls else front.http
    request = f"GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode()
    try:
        with socket.create_connection((_host(front), port), _ANSWER_S) as line:
            line.settimeout(_ANSWER_S)
            opened = _context().wrap_socket(line, server_hostname=name) if tls else line
            opened.sendall(request)
            first = opened.recv(256).split(b"\r\n", 1)[0].decode("latin-1")
            if tls:
                opened.close()
    except OSError as error:
        return Step("answer", "fails", f"none: {error.strerror or error}")
    status = first.partition(" ")[2]
    if not status:
        return Step("answer", "fails", "the connection was closed without one")
    bad = status.startswith(("502", "503", "504"))
    found = f"{status}: the app does not answer, see 'reconciler status'" if bad else status
    return Step("answer", "fails" if bad else "ok", found)


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # the certificate was the step before
    return context


def _host(front: Front) -> str:
    return {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(front.address, front.address)


def _front(wanted: Path) -> Front:
    with suppress(OSError, ValueError, TypeError, KeyError):
        given = read_record(wanted, _MOST)["front"]
        return Front(**{**given, "trusted": tuple(given["trusted"])})
    return Front()


def wanted_text(wanted: Path) -> str:
    """Return the configuration that the proxy is to have, without keys and hashes. Raises NoProxy."""
    return _shown(_wanted(wanted)["config"])


def difference(wanted: Path) -> str:
    """Return how what the proxy has differs from what it is to have, "" if not at all. Raises NoProxy, ProxyError."""
    record = _wanted(wanted)
    has = asyncio.run(_had(record))
    config = record["config"]
    ours = _shown(ours_in(config) if record["driver"] == "host" else config).splitlines(keepends=True)
    return "".join(
        difflib.unified_diff(has.splitlines(keepends=True), ours, "what the proxy has", "what it is to have")
    )


async def _had(record: Mapping[str, Any]) -> str:
    from reconciler.routing.admin import AdminSocket, ProxyError

    if record["file"]:
        try:
            return _shown(read_file(record["file"], _MOST).decode("utf-8", "replace"))
        except FileNotFoundError:
            return ""
        except OSError as error:
            raise ProxyError(f"cannot read {record['file']}: {in_words(error)}") from error
    config, _ = await AdminSocket(Path(record["admin"])).config()
    return _shown(config if record["driver"] == "kept" else ours_in(config or {}))


def _wanted(wanted: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = read_record(wanted, _MOST)
    except (OSError, ValueError) as error:
        why = "no app has a domain, or the host's settings name no proxy, or no daemon has run since"
        raise NoProxy(f"nothing is known of a proxy: {why}") from error
    return found


def _shown(config: Any) -> str:
    text = config if isinstance(config, str) else json.dumps(_masked(config), indent=2, sort_keys=True) + "\n"
    return _HASH.sub("<hash>", _KEY.sub("<key>", text))


def _masked(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: "<hash>" if name == "password" else ["<key>"] if name == CLIENT_HEADER else _masked(part)
            for name, part in value.items()
        }
    return [_masked(part) for part in value] if isinstance(value, list) else value
