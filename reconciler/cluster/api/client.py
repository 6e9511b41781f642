"""Ask the API server of a cluster: list, watch, get, apply and delete objects of one namespace.

Each request is one that may be sent again: what is applied is applied by its name, what is deleted by its uid.
"""

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import quote, urlencode

from reconciler.cluster.api.exchange import Answer, BrokenExchange, Exchange
from reconciler.cluster.api.kubeconfig import Access, AccessError, access_of
from reconciler.cluster.versions import PLURALS, candidates, in_version
from reconciler.settings.clusters import Cluster

_AT_ONCE = 8
_KEPT = 4
_ANSWER_S = 60.0
_PAGE = 500
_GONE = 410
_UNKNOWN = 401  # who asks
_FORBIDDEN, _NOT_FOUND = 403, 404
_FAILED = 400
_BUSY = frozenset((429, 503))
_BUSY_S, _LONGEST_BUSY_S = 1, 60
_APPLY = "application/apply-patch+yaml"


class ApiError(Exception):
    """An API server refused, or could not be asked: `status` is 0 then. `reason` is the server's word for programs."""

    def __init__(self, message: str, status: int = 0, reason: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


class Client:
    """The objects of one namespace. `access` is called for each connection. `manager` names us as owner of fields.

    What is refused on a connection that was kept, as who asks is not known any more, is asked again on a new one.
    A server that says that it has too much to do is asked nothing for as long as it says; `sleep` waits that long.
    """

    def __init__(
        self,
        access: Callable[[], Access],
        namespace: str,
        manager: str,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._sleep = sleep
        self._busy_until = 0.0
        self._access = access
        self.namespace = namespace
        self._manager = manager
        self._idle: list[Exchange] = []
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._versions: dict[str, str] = {}

    async def version_of(self, kind: str) -> str:
        """Return the version of the API in which the cluster has a kind. Raises ApiError: 404 if in none of ours.

        It is asked where there are several, once as long as lists of the kind are answered.
        """
        if kind not in self._versions:
            known = candidates(kind)
            self._versions[kind] = known[0] if len(known) == 1 else await self._discovered(kind, known)
        return self._versions[kind]

    async def _discovered(self, kind: str, known: tuple[str, ...]) -> str:
        for version in known:
            try:
                found = await self._asked("GET", f"/apis/{version}")
            except ApiError as error:
                if error.status != _NOT_FOUND:
                    raise
                continue
            if any(each.get("name") == PLURALS[kind] for each in found.get("resources") or ()):
                return version
        raise ApiError(f"this cluster has no {kind} of {' or '.join(known)}", _NOT_FOUND, "NotFound")

    async def list(self, kind: str, selector: str) -> tuple[list[dict[str, Any]], str]:
        """Return all objects of a kind that have these labels, and the version that a watch goes on from."""
        items: list[dict[str, Any]] = []
        after = ""
        while True:
            asked = {"labelSelector": selector, "limit": str(_PAGE), **({"continue": after} if after else {})}
            path = await self._path(kind)
            try:
                found = await self._asked("GET", f"{path}?{urlencode(asked)}")
            except ApiError as error:
                if error.status == _NOT_FOUND:  # a cluster that was upgraded has it in another version
                    self._versions.pop(kind, None)
                raise
            version = await self.version_of(kind)
            items += ({**each, "kind": kind, "apiVersion": version} for each in found.get("items") or ())
            after = str(found.get("metadata", {}).get("continue") or "")
            if not after:
                return items, str(found.get("metadata", {}).get("resourceVersion") or "")

    async def watch(
        self, kind: str, selector: str, version: str, timeout_s: int
    ) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        """Yield what becomes of objects from a version on: ADDED, MODIFIED, DELETED or BOOKMARK, and the object.

        The first is a BOOKMARK without a version: the server watches. Ends after the timeout, or when the server has
        enough. Raises ApiError; its status is 410 if the version is too old: then everything is to be listed again.
        """
        asked = {
            "labelSelector": selector,
            "watch": "1",
            "allowBookmarks": "1",
            "resourceVersion": version,
            "timeoutSeconds": str(timeout_s),
        }
        path = await self._path(kind)
        await self._when_calm()
        exchange = await self._opened()
        refused: Answer | None = None
        try:
            async with asyncio.timeout(timeout_s + _ANSWER_S):
                async for line in exchange.lines(f"{path}?{urlencode(asked)}"):
                    if isinstance(line, Answer):
                        refused = line if line.status >= _FAILED else None
                        if refused is None:
                            yield "BOOKMARK", {"kind": kind}
                        continue
                    if refused is not None:
                        refused = replace(refused, body=refused.body + line)
                        continue
                    event = _json(line)
                    found = event.get("object") or {}
                    if event.get("type") == "ERROR":
                        message = str(found.get("message") or "the watch ended")
                        raise ApiError(message, int(found.get("code") or 0), str(found.get("reason") or ""))
                    yield str(event.get("type")), {**found, "kind": kind}
        except (BrokenExchange, OSError, TimeoutError) as error:
            raise ApiError(f"the watch broke: {str(error) or 'no answer'}") from error
        finally:
            exchange.close()
        if refused is not None:
            raise self._refusal(refused)

    async def get(self, kind: str, name: str) -> dict[str, Any] | None:
        """Return an object, None if there is none. Raises ApiError."""
        try:
            return await self._asked("GET", await self._path(kind, name))
        except ApiError as error:
            if error.status == _NOT_FOUND:
                return None
            raise

    async def apply(self, wanted: Mapping[str, Any], *, force: bool, part: str = "") -> dict[str, Any]:
        """Make an object's fields as they are wanted, and return the object; others stay. Raises ApiError.

        Without `force`, a field that another manager owns is a conflict: status 409. `part` makes another manager of
        ours: what one of them no longer applies stays as long as the other owns it.
        """
        kind, name = str(wanted["kind"]), str(wanted["metadata"]["name"])
        asked = {"fieldManager": f"{self._manager}{part and f'/{part}'}", **({"force": "true"} if force else {})}
        written, why = in_version(wanted, await self.version_of(kind))
        if why:
            raise ApiError(f"{kind} {name} cannot be: {why}")
        path = f"{await self._path(kind, name)}?{urlencode(asked)}"
        try:
            return await self._asked("PATCH", path, json.dumps(written).encode(), _APPLY)
        except ApiError as error:
            if error.status != _FORBIDDEN or not str(error).rstrip().endswith(" is forbidden:"):
                raise
            # Of the right to make what is not there yet, a server says nothing but that there is none.
            group = str(written["apiVersion"]).rpartition("/")[0]
            where = f'in API group "{group}" in the namespace "{self.namespace}"'
            text = f'{str(error).rstrip(": ")}: the account cannot create resource "{PLURALS[kind]}" {where}'
            raise ApiError(text, error.status, error.reason) from error

    async def delete(self, kind: str, name: str, uid: str, *, orphans: bool = False) -> None:
        """Delete an object if it is still this one, and what it has made, unless that is to stay as `orphans`.

        Raises ApiError; one that is gone is no error.
        """
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": {"uid": uid},
            "propagationPolicy": "Orphan" if orphans else "Background",
        }
        try:
            await self._asked("DELETE", await self._path(kind, name), json.dumps(options).encode(), "application/json")
        except ApiError as error:
            if error.status != _NOT_FOUND:
                raise

    async def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return the answer to a request of any path. Raises ApiError."""
        content = b"" if body is None else json.dumps(body).encode()
        return await self._asked(method, path, content, "application/json" if content else "")

    async def lines(self, path: str) -> AsyncIterator[str]:
        """Yield the lines of an answer as they come, until it ends. Raises ApiError."""
        exchange = await self._opened()
        refused: Answer | None = None
        try:
            async for line in exchange.lines(path):
                if isinstance(line, Answer):
                    refused = line if line.status >= _FAILED else None
                elif refused is not None:
                    refused = replace(refused, body=refused.body + line)
                else:
                    yield line.decode(errors="replace")
        except (BrokenExchange, OSError) as error:
            raise ApiError(f"the connection broke: {error}") from error
        finally:
            exchange.close()
        if refused is not None:
            raise self._refusal(refused)

    def close(self) -> None:
        """End every connection."""
        while self._idle:
            self._idle.pop().close()

    async def _path(self, kind: str, name: str = "") -> str:
        version = await self.version_of(kind)
        top = f"/apis/{version}" if "/" in version else f"/api/{version}"
        path = f"{top}/namespaces/{quote(self.namespace, safe='')}/{PLURALS[kind]}"
        return f"{path}/{quote(name, safe='')}" if name else path

    async def _asked(self, method: str, path: str, body: bytes = b"", kind: str = "") -> dict[str, Any]:
        async with self._slots:
            await self._when_calm()
            answer = await self._answered(method, path, body, kind)
        if answer.status >= _FAILED:
            raise self._refusal(answer)
        return _json(answer.body)

    async def _when_calm(self) -> None:
        """Wait until the server may be asked again."""
        if (left_s := self._busy_until - time.monotonic()) > 0:
            await self._sleep(left_s)

    def _refusal(self, answer: Answer) -> ApiError:
        """Return what an answer says that is a refusal, and take note of until when the server is too busy."""
        if answer.status in _BUSY:
            asked = answer.headers.get("retry-after", "")
            for_s = min(int(asked), _LONGEST_BUSY_S) if asked.isdecimal() else _BUSY_S
            self._busy_until = max(self._busy_until, time.monotonic() + for_s)
        found = _json(answer.body)
        message = str(found.get("message") or f"it answered {answer.status}")
        return ApiError(message, answer.status, str(found.get("reason") or ""))

    async def _answered(self, method: str, path: str, body: bytes, kind: str) -> Answer:
        was_kept = bool(self._idle)
        try:
            async with asyncio.timeout(_ANSWER_S), self._exchange() as exchange:
                answer = await exchange.ask(method, path, body, kind)
                if answer.status == _UNKNOWN:
                    exchange.close()
        except (BrokenExchange, OSError, TimeoutError) as error:
            if was_kept and not isinstance(error, TimeoutError):  # servers end what was idle; none is kept any more
                return await self._answered(method, path, body, kind)
            raise ApiError(f"the API server cannot be asked: {str(error) or 'no answer'}") from error
        if answer.status == _UNKNOWN and was_kept:  # each says who asks as that was when it was opened
            self.close()
            return await self._answered(method, path, body, kind)
        return answer

    @asynccontextmanager
    async def _exchange(self) -> AsyncIterator[Exchange]:
        """Yield a connection, and keep it for the next request if it was answered."""
        exchange = self._idle.pop() if self._idle else await self._opened()
        try:
            yield exchange
        except BaseException:
            exchange.close()
            self.close()  # the others may be as old
            raise
        if exchange.is_open and len(self._idle) < _KEPT:
            self._idle.append(exchange)
        else:
            exchange.close()

    async def _opened(self) -> Exchange:
        try:
            access = await asyncio.to_thread(self._access)
            return await Exchange.opened(access)
        except AccessError as error:
            raise ApiError(str(error)) from error
        except (OSError, TimeoutError, ssl.SSLError) as error:
            raise ApiError(f"the API server cannot be reached: {str(error) or 'no answer'}") from error


def is_gone(error: ApiError) -> bool:
    """Return whether a version is too old to go on from."""
    return error.status == _GONE


def _json(text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(text or b"{}")
    except ValueError:
        return {"message": text[:200].decode(errors="replace").strip()}
    return found if isinstance(found, dict) else {}


def client_of(cluster: Cluster, manager: str, sleep: Callable[[float], Awaitable[object]] = asyncio.sleep) -> Client:
    """Return a client of the namespace of a cluster of the settings."""
    access = partial(access_of, cluster.kubeconfig, cluster.context)
    return Client(access, cluster.namespace, manager, sleep)
