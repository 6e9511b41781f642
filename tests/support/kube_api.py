"""An API server that tests script: server-side apply with owners of fields, watches, and each fault that one can have.

What controllers and kubelets would do is done at once, as `rolls_out` says. The tests against a real API server hold it
to what that does.
"""

import json
import sys
import threading
from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal, TypeAlias
from urllib.parse import parse_qs, unquote, urlsplit

from reconciler.cluster.versions import PLURALS, READ_VERSIONS
from tests.support.kube_rights import Needed, Right, forbidden, needed
from tests.support.owned_fields import Object, at, bare, fields, has_labels, leaves, merged, owners, remove, status_of

Key: TypeAlias = tuple[str, str, str]
# What becomes of a request: a status in place of the true answer, or a connection that ends before or after it is done;
# that of a watch, after what has happened so far.
Fault: TypeAlias = int | Literal["before", "after"]
_SAID_ONCE = frozenset(("kind", "apiVersion"))  # and not of each item of a list
_KINDS = {plural: kind for kind, plural in PLURALS.items()}


def rolled_out(made: Object) -> Object:
    """Return an object with the status that it has once everything went well."""
    if made["kind"] == "Deployment":
        count = made["spec"].get("replicas", 1)
        status = {"replicas": count, "updatedReplicas": count, "availableReplicas": count}
        made["status"] = {**status, "observedGeneration": made["metadata"]["generation"]}
    if made["kind"] == "Job":
        made["status"] = {"conditions": [{"type": "Complete", "status": "True"}]}
    return made


def failed_rollout(made: Object) -> Object:
    """Return an object with the status of one whose new pods are of no use, while one of the old ones serves."""
    if made["kind"] == "Deployment":
        gone = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
        status = {"replicas": 2, "updatedReplicas": 1, "availableReplicas": 1, "conditions": [gone]}
        made["status"] = {**status, "observedGeneration": made["metadata"]["generation"]}
    return made


@dataclass(slots=True)
class KubeApi:
    """What an API server has, and what it was asked. `fault` is asked before each request.

    `versions` is the version of the API that has each kind, and none that it lacks. `rights` are those that were
    needed: verb, group and resource; `allowed` those that the account has, None for all. `others` are answers to GET of
    what is no kind of ours, by path. `token` is the one that is valid, "" for any.
    """

    objects: dict[Key, Object] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    events: list[tuple[int, str, Object]] = field(default_factory=list)
    fault: Callable[[str, str], Fault | None] = lambda *_: None
    rolls_out: Callable[[Object], Object] = rolled_out
    retry_after: str = ""
    versions: dict[str, str] = field(default_factory=lambda: dict(READ_VERSIONS))
    rights: set[Right] = field(default_factory=set)
    allowed: set[Right] | None = None
    incomplete: bool = False
    release: str = "v1.36.2"
    token: str = ""
    others: dict[str, Object | str] = field(default_factory=dict)
    oldest: int = 0
    version: int = 0
    uids: int = 0
    port: int = 0
    closing: bool = False
    at_once: int = 0
    most_at_once: int = 0
    changed: threading.Condition = field(default_factory=threading.Condition)

    def names(self, kind: str = "") -> list[str]:
        """The names of the objects of a kind, or of all, as KIND/NAME."""
        with self.changed:  # which requests do meanwhile
            keys = [*self.objects]
        return sorted(name if kind else f"{found}/{name}" for found, _, name in keys if kind in {"", found})

    def of(self, kind: str, name: str, namespace: str = "web") -> Object:
        """One object."""
        return self.objects[kind, namespace, name]

    def writes(self) -> list[str]:
        """What changed anything: METHOD and the end of the path."""
        return [f"{method} {'/'.join(path.split('/')[-2:])}" for method, path in self.asked if method != "GET"]

    def put(self, made: Object, manager: str = "test", namespace: str = "web") -> Object:
        """Have an object as another program would, which owns all its fields."""
        with self.changed:
            key = str(made["kind"]), namespace, str(made["metadata"]["name"])
            before = self.objects.get(key)
            owned = owners(before) if before else {}
            owned[manager] = {*owned.get(manager, ()), *leaves(made)}
            for other in owned:
                if other != manager:
                    owned[other] -= leaves(made)
            return self._store(key, merged(before or {}, made), owned, before)

    def remove(self, kind: str, name: str, namespace: str = "web") -> None:
        """Delete an object as another program would."""
        with self.changed:
            self._drop((kind, namespace, name))

    def forget_events(self) -> None:
        """Have every watch begin again with a list: 410."""
        with self.changed:
            self.oldest = self.version + 1
            self.version += 1
            self.changed.notify_all()

    def apply(self, key: Key, wanted: Object, manager: str, *, force: bool) -> tuple[int, Object]:
        """Do a server-side apply; return the status and the object, or what is wrong."""
        before = self.objects.get(key)
        owned = owners(before) if before else {}
        mine = leaves(wanted)
        taken = {
            path: other
            for other, paths in owned.items()
            for path in paths & mine
            if other != manager and before is not None and at(before, path) != at(wanted, path)
        }
        if taken and not force:
            path, other = next(iter(sorted(taken.items())))
            message = f'Apply failed with {len(taken)} conflicts: conflict with "{other}": .{".".join(path)}'
            return 409, status_of(409, "Conflict", message)
        for path, other in taken.items():
            owned[other] = owned[other] - {path}
        for path in owned.get(manager, set()) - mine:
            if before is not None and not any(path in paths for each, paths in owned.items() if each != manager):
                remove(before, path)
        owned[manager] = mine
        return 200, self._store(key, merged(before or {}, wanted), owned, before)

    def delete(self, key: Key, uid: str) -> tuple[int, Object]:
        """Delete an object, if it is the one that is meant."""
        found = self.objects.get(key)
        if found is None:
            return 404, status_of(404, "NotFound", f"{key[2]} not found")
        if uid and found["metadata"]["uid"] != uid:
            return 409, status_of(409, "Conflict", "the UID in the precondition is another one")
        self._drop(key)
        return 200, status_of(200, "", "")

    def _store(self, key: Key, made: Object, owned: dict[str, set[tuple[str, ...]]], before: Object | None) -> Object:
        made = json.loads(json.dumps(made))
        metadata = made["metadata"]
        metadata["namespace"] = key[1]
        made["apiVersion"] = self.versions.get(key[0], "")
        if before is None:
            self.uids += 1
            metadata["uid"] = f"uid-{self.uids}"
        metadata["managedFields"] = [
            {
                "manager": manager,
                "operation": "Apply",
                "time": f"{self.version:08}",
                "fieldsV1": fields(paths),
                "paths": sorted(map(list, paths)),
            }
            for manager, paths in sorted(owned.items())
            if paths
        ]
        if before is None or before.get("spec") != made.get("spec"):
            metadata["generation"] = int((before or {}).get("metadata", {}).get("generation", 0)) + 1
            made = self.rolls_out(made)
        if before is not None and bare(before) == bare(made):
            return before
        self.version += 1
        metadata["resourceVersion"] = str(self.version)
        self.objects[key] = made
        self.events.append((self.version, "ADDED" if before is None else "MODIFIED", made))
        self.changed.notify_all()
        return made

    def _drop(self, key: Key) -> None:
        found = json.loads(json.dumps(self.objects.pop(key)))
        self.version += 1
        found["metadata"]["resourceVersion"] = str(self.version)
        self.events.append((self.version, "DELETED", found))
        self.changed.notify_all()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    api: KubeApi

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def _handle(self) -> None:
        self._counts = "watch=1" not in self.path
        with self.api.changed:
            self.api.at_once += self._counts
            self.api.most_at_once = max(self.api.most_at_once, self.api.at_once)
        try:
            self._handled()
        finally:
            self._done_with()

    def _done_with(self) -> None:
        """Count a request as over: its answer begins, or its connection ends."""
        with self.api.changed:
            self.api.at_once -= self._counts
        self._counts = False

    def _handled(self) -> None:
        api, split = self.api, urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        asked = {name: values[-1] for name, values in parse_qs(split.query).items()}
        top, _, rest = split.path.partition("/namespaces/")
        version = top.removeprefix("/apis/").removeprefix("/api/")
        if "watch" not in asked:
            api.asked.append((self.command, split.path))
        fault = api.fault(self.command, self.path)
        if fault == "before":
            self.close_connection = True
            return
        if isinstance(fault, int):
            self._answer(fault, status_of(fault, "Refused", f"scripted {fault}"))
            return
        if api.token and self.headers["Authorization"] != f"Bearer {api.token}":
            self._answer(401, status_of(401, "Unauthorized", "Unauthorized"))
            return
        right = needed(self.command, split.path, asked)
        if right is None:
            self._answer(*self._told(split.path, version, body))
            return
        namespace, plural, *names = map(unquote, rest.split("/")) if "/" in rest else (rest, "")
        kind = _KINDS.get(plural, "")
        if why := self._denied(right, kind, namespace, names):
            self._answer(403, status_of(403, "Forbidden", why))
        elif split.path in api.others:
            self._answer(200, api.others[split.path])
        elif api.versions.get(kind) != version or right.resource != plural:
            self._answer(404, status_of(404, "NotFound", "the server could not find the requested resource"))
        else:
            self._of_objects(kind, namespace, names, asked, body, cut=fault == "after")

    def _denied(self, right: Needed, kind: str, namespace: str, names: list[str]) -> str:
        """Return why a request may not be made, "" if it may; its rights are noted then."""
        verbs = set(right.verbs)
        if right.verbs == ("patch",) and (kind, namespace, names[0]) not in self.api.objects:
            verbs.add("create")  # what an apply makes is created
        rights = {(verb, right.group, right.resource) for verb in verbs}
        denied = sorted(rights - self.api.allowed) if self.api.allowed is not None else []
        if denied and denied[0][0] == "create" and right.verbs == ("patch",):
            return f'{right.resource}.{right.group} "{names[0]}" is forbidden: '  # as it is, without a reason
        if denied:
            return forbidden(*denied[0], namespace)
        self.api.rights |= rights
        return ""

    def _of_objects(
        self, kind: str, namespace: str, names: list[str], asked: dict[str, str], body: bytes, *, cut: bool
    ) -> None:
        if self.command == "GET" and "watch" in asked:
            self._watch(kind, namespace, asked, cut=cut)
            return
        with self.api.changed:
            status, found = self._done(kind, namespace, names, asked, body)
        if cut:
            self.close_connection = True
            return
        self._answer(status, found)

    def _told(self, path: str, version: str, body: bytes) -> tuple[int, Object]:
        """Answer what every account may ask: the version, what there is of a group, and what it may do itself."""
        api = self.api
        if path in api.others:
            found = api.others[path]
            return 200, found if isinstance(found, dict) else {}
        if path == "/version":
            return 200, {"gitVersion": api.release}
        if path.endswith("/selfsubjectrulesreviews"):
            rules = [
                {"verbs": [verb], "apiGroups": [group], "resources": [resource]}
                for verb, group, resource in sorted(api.allowed or {("*", "*", "*")})
            ]
            return 201, {"status": {"resourceRules": rules, "incomplete": api.incomplete}}
        if path.endswith("/selfsubjectaccessreviews"):
            asked = json.loads(body)["spec"]["resourceAttributes"]
            resource = "/".join(filter(None, (asked["resource"], asked.get("subresource"))))
            right = asked["verb"], asked["group"], resource
            return 201, {"status": {"allowed": api.allowed is None or right in api.allowed}}
        served = [PLURALS[kind] for kind, each in api.versions.items() if each == version]
        if not served:
            return 404, status_of(404, "NotFound", "the server could not find the requested resource")
        return 200, {"kind": "APIResourceList", "resources": [{"name": plural} for plural in served]}

    def _done(
        self, kind: str, namespace: str, names: list[str], asked: dict[str, str], body: bytes
    ) -> tuple[int, Object]:
        api = self.api
        if not names:
            items = [
                each for key, each in api.objects.items() if key[:2] == (kind, namespace) and has_labels(each, asked)
            ]
            bare = [{name: value for name, value in each.items() if name not in _SAID_ONCE} for each in items]
            return 200, {"metadata": {"resourceVersion": str(api.version)}, "items": bare}
        key = kind, namespace, names[0]
        if self.command == "PATCH":
            wanted = json.loads(body)
            return api.apply(key, wanted, asked["fieldManager"], force=asked.get("force") == "true")
        if self.command == "DELETE":
            return api.delete(key, json.loads(body or b"{}").get("preconditions", {}).get("uid", ""))
        found = api.objects.get(key)
        return (200, found) if found is not None else (404, status_of(404, "NotFound", f"{names[0]} not found"))

    def _answer(self, status: int, found: Object | str) -> None:
        self._done_with()
        is_text = isinstance(found, str)
        content = found.encode() if isinstance(found, str) else json.dumps(found).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain" if is_text else "application/json")
        self.send_header("Content-Length", str(len(content)))
        if self.api.retry_after and status in {429, 503}:
            self.send_header("Retry-After", self.api.retry_after)
        self.end_headers()
        self.wfile.write(content)

    def _watch(self, kind: str, namespace: str, asked: dict[str, str], *, cut: bool) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        api, after = self.api, int(asked["resourceVersion"])
        while not api.closing:
            with api.changed:
                if after < api.oldest:
                    self._line({"type": "ERROR", "object": status_of(410, "Expired", "too old resource version")})
                    break
                found = api.events[bisect_right(api.events, after, key=lambda each: each[0]) :]
                if not found and not cut:
                    api.changed.wait(0.2)
                    continue
            after = max((version for version, _, _ in found), default=after)
            for _, what, each in found:
                if each["kind"] == kind and each["metadata"]["namespace"] == namespace and has_labels(each, asked):
                    self._line({"type": what, "object": each})
            if cut:
                self.close_connection = True
                return
        self.wfile.write(b"0\r\n\r\n")
        self.close_connection = True

    def _line(self, event: Object) -> None:
        line = json.dumps(event).encode() + b"\n"
        self.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")

    do_GET = do_PATCH = do_DELETE = do_POST = _handle  # noqa: N815  http.server calls them so


@contextmanager
def kube_api(port: int = 0, api: KubeApi | None = None) -> Iterator[KubeApi]:
    """Run an API server at a port of the loopback interface."""
    api = KubeApi() if api is None else api
    api.closing = False

    handler = type("Handler", (_Handler,), {"api": api})

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128  # a client watches every kind at once

        def handle_error(self, request: object, client_address: object) -> None:
            """Say nothing of clients that hang up, as those do whose test is over."""
            if not isinstance(sys.exception(), ConnectionError):
                super().handle_error(request, client_address)  # type: ignore[arg-type]

    server = Server(("127.0.0.1", port), handler)
    api.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield api
    finally:
        api.closing = True
        server.shutdown()
        server.server_close()
        thread.join()


def kubeconfig(directory: Path, server: str, **user: str) -> Path:
    """Write a kubeconfig, which JSON is as well."""
    written = {
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    file = directory / "kubeconfig"
    file.write_text(json.dumps(written))
    return file
