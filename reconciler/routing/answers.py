"""Try the names that the proxy serves as their clients do, and say when each is tried again."""

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from reconciler.linux.regular_files import opened_file
from reconciler.planning.routing.observed import Answer, AnswerState, ObservedProxy
from reconciler.planning.routing.route import Route
from reconciler.planning.wording import span
from reconciler.routing.dns import astray
from reconciler.routing.handshake import Met, meet
from reconciler.settings.proxy import Proxy

_AT_ONCE = 8
_SERVED_AGAIN_S = 3600.0
_TROUBLED_AGAIN_S = 300.0
_FIRST_AGAIN_S = 1.0
_LAST_AGAIN_S = 30.0
_TOLD_BEFORE_S = 21 * 86400
# What renews certificates does so with a third of their time left.
_TOLD_SHARE = 0.23
# So that the end of a certificate of minutes is seen before it has come.
_LOOKED_AT_SHARE = 0.05
_RESOLVED_S = 5.0
_TAIL = 256 * 1024
_LONGEST = 300
_RECENT_S = 120.0


async def answers_of(
    names: Sequence[str], routes: Sequence[Route], proxy: Proxy, observed: ObservedProxy, log: str
) -> Mapping[str, Answer]:
    """Return how each name is answered now; `log` is where the proxy writes why it gets no certificate, or empty."""
    by_authority = {name for route in routes if route.routing.tls == "auto" for name in route.routing.names}
    secure = {name for route in routes if route.routing.tls != "off" for name in route.routing.names}
    slots = asyncio.Semaphore(_AT_ONCE)

    async def answer(name: str) -> Answer:
        async with slots:
            met = await meet(name, proxy.front, tls=name in secure)
        if met.trouble and log:
            why = await asyncio.to_thread(_said_of, Path(log), name, time.time())  # noqa: TID251  as the log's times
            met = Met(trouble=f"{met.trouble}: {why}" if why else met.trouble)
        if met.trouble and name in by_authority and (elsewhere := await _elsewhere(name)):
            met = Met(trouble=f"{met.trouble}, {elsewhere}")
        before = observed.answers.get(name)
        return _answer(met, 0 if before is None else before.tries)

    return dict(zip(names, await asyncio.gather(*map(answer, names)), strict=True))


async def _elsewhere(name: str) -> str:
    try:
        async with asyncio.timeout(_RESOLVED_S):
            return await asyncio.to_thread(astray, name)
    except TimeoutError:
        return ""


def _answer(met: Met, tries: int) -> Answer:
    now = time.monotonic()
    if met.trouble:
        again_s = min(_LAST_AGAIN_S, _FIRST_AGAIN_S * 2.0 ** min(tries, 10))
        return Answer(at=now, again_at=now + again_s, state="unserved", message=met.trouble, tries=tries + 1)
    state, message = _standing(met)
    again_s = _SERVED_AGAIN_S if state == "served" else _TROUBLED_AGAIN_S
    if met.begins_at is not None and met.ends_at is not None:
        again_s = min(again_s, max(_FIRST_AGAIN_S, _LOOKED_AT_SHARE * (met.ends_at - met.begins_at)))
    return Answer(at=now, again_at=now + again_s, state=state, message=message, issuer=met.issuer, ends_at=met.ends_at)


def _standing(met: Met) -> tuple[AnswerState, str]:
    if met.ends_at is None or met.begins_at is None:
        return "served", ""
    left_s = met.ends_at - time.time()  # noqa: TID251  a certificate's times are those of the wall clock
    if left_s <= 0:
        return "expired", "has a certificate that has expired"
    if left_s < min(_TOLD_BEFORE_S, _TOLD_SHARE * (met.ends_at - met.begins_at)):
        return "expiring", f"has a certificate that expires in {span(left_s)}, and was not renewed"
    return "served", ""


def _said_of(log: Path, name: str, now: float) -> str:
    """Return what the proxy has written last about the certificate of a name, "" for nothing.

    Before an authority has failed for a name, a request to it may have failed several times, each time after a while.
    `now` is wall-clock seconds, as the log has them.
    """
    of_authority = ""
    with suppress(OSError), opened_file(log) as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - _TAIL))
        for line in reversed(file.read(_TAIL).splitlines()):
            if b'"error"' not in line or not (b"acme_client" in line or (name.encode() in line and b'"tls' in line)):
                continue
            with suppress(ValueError, TypeError, AttributeError):
                said = json.loads(line)
                error = " ".join(str(said.get("error") or "").split())[:_LONGEST]
                if said.get("identifier") == name and error:
                    return error
                of_authority = of_authority or (error if _is_recent(said, now) else "")
    return of_authority


def _is_recent(said: Mapping[str, Any], now: float) -> bool:
    """Return whether a request to an authority failed just now, so that names without a certificate wait for it."""
    if not str(said.get("logger")).endswith("acme_client"):
        return False
    return abs(now - float(said["ts"])) < _RECENT_S
