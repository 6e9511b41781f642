"""A service broker made with openbrokerapi, on a port from the kernel, in a thread; and ways to make it misbehave.

It remembers what it holds, and what was ever removed, so that a test can count instances, bindings and orphans.
"""

import logging
import ssl
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

from flask import Flask
from openbrokerapi import errors  # type: ignore[import-untyped]
from openbrokerapi.api import get_blueprint  # type: ignore[import-untyped]
from openbrokerapi.auth import BrokerAuthenticator  # type: ignore[import-untyped]
from openbrokerapi.catalog import ServicePlan  # type: ignore[import-untyped]
from openbrokerapi.service_broker import (  # type: ignore[import-untyped]
    Binding,
    BindState,
    DeprovisionServiceSpec,
    GetBindingSpec,
    LastOperation,
    OperationState,
    ProvisionedServiceSpec,
    ProvisionState,
    Service,
    ServiceBroker,
    UnbindSpec,
    UpdateServiceSpec,
)
from werkzeug.serving import make_server

TOKEN = "tok-8f2c41"
Wsgi = Callable[[WSGIEnvironment, StartResponse], Iterable[bytes]]
Fault = Callable[[Wsgi, WSGIEnvironment, StartResponse], Iterable[bytes]]

log = logging.getLogger("broker")
log.disabled = True


@dataclass
class Databases(ServiceBroker):  # type: ignore[misc]  # openbrokerapi has no types
    """Plans `small` and `large` of `db`; `busy` is how many polls every operation takes, 0 for none."""

    busy: int = 0
    retrievable: bool = True
    updateable: bool = True
    fails: bool = False
    once: bool = False
    requires: tuple[str, ...] = ()
    extra: dict[str, Any] = field(default_factory=dict)
    instances: dict[str, tuple[str, object]] = field(default_factory=dict)
    bindings: dict[str, dict[str, Any]] = field(default_factory=dict)
    removed: list[str] = field(default_factory=list)
    updates: list[Any] = field(default_factory=list)
    asked: list[Any] = field(default_factory=list)
    _left: dict[str, int] = field(default_factory=dict)
    _going: dict[str, Callable[[], object]] = field(default_factory=dict)

    def catalog(self) -> Service:
        plans = [ServicePlan(id=f"{name}-id", name=name, description=name) for name in ("small", "large")]
        plans.append(ServicePlan(id="dark-id", name="dark", description="no bindings", bindable=False))
        plans.append(ServicePlan(id="hasty-id", name="hasty", description="", maximum_polling_duration=1))
        return Service(
            id="db-id",
            name="db",
            description="a database",
            bindable=True,
            plans=plans,
            plan_updateable=self.updateable,
            bindings_retrievable=self.retrievable,
            requires=list(self.requires),
        )

    def _later(self, key: str, done: Callable[[], object]) -> bool:
        """Whether it is begun only; what is not gets done."""
        if self.busy:
            self._left.setdefault(key, self.busy)
            self._going[key] = done
            return True
        done()
        return False

    def _poll(self, key: str) -> LastOperation:
        if key not in self._going:
            return LastOperation(OperationState.SUCCEEDED)
        if self.fails:
            return LastOperation(OperationState.FAILED, "no room on the host")
        self._left[key] -= 1
        if self._left[key] > 0:
            return LastOperation(OperationState.IN_PROGRESS, f"{self._left[key]} to go")
        del self._left[key]
        self._going.pop(key)()
        return LastOperation(OperationState.SUCCEEDED)

    def provision(self, instance_id: str, details: Any, async_allowed: bool, **_: Any) -> ProvisionedServiceSpec:
        wanted = (details.plan_id, details.parameters)
        self.asked.append(details)
        if (details.parameters or {}).get("size") == "enormous":
            raise errors.ErrInvalidParameters(f"size is out of range {TOKEN}\nk-3141592653")
        if instance_id in self.instances:
            if self.instances[instance_id] != wanted:
                raise errors.ErrInstanceAlreadyExists
            return ProvisionedServiceSpec(ProvisionState.IDENTICAL_ALREADY_EXISTS)
        if self._later(f"+{instance_id}", lambda: self.instances.__setitem__(instance_id, wanted)):
            return ProvisionedServiceSpec(ProvisionState.IS_ASYNC, operation=f"+{instance_id}")
        return ProvisionedServiceSpec()

    def update(self, instance_id: str, details: Any, async_allowed: bool, **_: Any) -> UpdateServiceSpec:
        self.updates.append(details)
        plan, parameters = self.instances[instance_id]
        wanted = (
            plan if details.plan_id is None else details.plan_id,
            parameters if details.parameters is None else details.parameters or None,
        )
        begun = self._later(f"~{instance_id}", lambda: self.instances.__setitem__(instance_id, wanted))
        return UpdateServiceSpec(is_async=begun, operation=f"~{instance_id}")

    def deprovision(self, instance_id: str, details: Any, async_allowed: bool, **_: Any) -> DeprovisionServiceSpec:
        if instance_id not in self.instances and f"+{instance_id}" not in self._going:
            raise errors.ErrInstanceDoesNotExist
        self._going.pop(f"+{instance_id}", None)
        self._left.pop(f"+{instance_id}", None)
        if self._later(f"-{instance_id}", lambda: self._drop(self.instances, instance_id)):
            return DeprovisionServiceSpec(is_async=True, operation=f"-{instance_id}")
        return DeprovisionServiceSpec(is_async=False)

    def bind(self, instance_id: str, binding_id: str, details: Any, async_allowed: bool, **_: Any) -> Binding:
        assert instance_id in self.instances, "bound before it was there"
        if binding_id in self.bindings:
            held = None if self.once else self.bindings[binding_id]
            return Binding(BindState.IDENTICAL_ALREADY_EXISTS, credentials=held)
        made = {"uri": f"mysql://u:{uuid.uuid4().hex}@db.test:3306/{instance_id}", "any": [1, {"thing": None}]}
        if self._later(f"+{binding_id}", lambda: self.bindings.__setitem__(binding_id, made)):
            return Binding(BindState.IS_ASYNC, operation=f"+{binding_id}")
        return Binding(credentials=made, **self.extra)

    def get_binding(self, instance_id: str, binding_id: str, **_: Any) -> GetBindingSpec:
        if binding_id not in self.bindings:
            raise errors.ErrBindingDoesNotExist
        return GetBindingSpec(credentials=self.bindings[binding_id])

    def unbind(self, instance_id: str, binding_id: str, details: Any, async_allowed: bool, **_: Any) -> UnbindSpec:
        if binding_id not in self.bindings and f"+{binding_id}" not in self._going:
            raise errors.ErrBindingDoesNotExist
        self._going.pop(f"+{binding_id}", None)
        self._left.pop(f"+{binding_id}", None)
        if self._later(f"-{binding_id}", lambda: self._drop(self.bindings, binding_id)):
            return UnbindSpec(is_async=True, operation=f"-{binding_id}")
        return UnbindSpec(is_async=False)

    def _drop(self, held: dict[str, Any], key: str) -> None:
        held.pop(key, None)
        self.removed.append(key)

    def last_operation(self, instance_id: str, operation_data: str, *_: Any, **__: Any) -> LastOperation:
        return self._poll(operation_data)

    def last_binding_operation(
        self, instance_id: str, binding_id: str, operation_data: str, *_: Any, **__: Any
    ) -> LastOperation:
        return self._poll(operation_data)


class _Door(BrokerAuthenticator):  # type: ignore[misc]  # openbrokerapi has no types
    """Opens to `admin` with the token as password, and to the token as a bearer."""

    def authenticate(self) -> Any:
        from flask import request

        shown = request.authorization
        if shown and (shown.token == TOKEN or (shown.username, shown.password) == ("admin", TOKEN)):
            return None
        return {"description": "no"}, 401


@dataclass
class Running:
    """A broker that runs: where, what it was asked, and what goes wrong with which request (counted from 0)."""

    databases: Databases
    url: str
    requests: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    faults: dict[int, Fault] = field(default_factory=dict)
    always: dict[str, Fault] = field(default_factory=dict)
    closing: threading.Event = field(default_factory=threading.Event)
    _count: int = 0

    def again(self) -> None:
        """Count requests from 0 anew, and nothing goes wrong any more."""
        self._count = 0
        self.requests.clear()
        self.faults.clear()
        self.always.clear()

    def around(self, app: Wsgi) -> Wsgi:
        turn = threading.Lock()

        def answer(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
            with turn:
                number, self._count = self._count, self._count + 1
                what = f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}"
                self.requests.append(what)
                self.headers.append({key: str(value) for key, value in environ.items() if key.startswith("HTTP_")})
            fault = self.faults.get(number) or next(
                (fault for words, fault in self.always.items() if _fits(what, words)), None
            )
            return fault(app, environ, start) if fault else app(environ, start)

        return answer


def _fits(what: str, words: str) -> bool:
    """Whether "GET …/last_operation" is meant by "GET last_operation": the method, and how the path ends or goes on."""
    method, _, part = words.partition(" ")
    return what.startswith(f"{method} ") and part in what


@contextmanager
def a_broker(databases: Databases, tls: ssl.SSLContext | None = None) -> Iterator[Running]:
    """Run it until the block ends; whoever hangs in it is let go then."""
    flask = Flask("broker")
    flask.register_blueprint(get_blueprint(databases, None, log, authenticator=_Door()))
    running = Running(databases=databases, url="")
    server = make_server("127.0.0.1", 0, running.around(flask.wsgi_app), threaded=True, ssl_context=tls)
    server.daemon_threads = True  # type: ignore[attr-defined]  # socketserver's, of the threaded server
    server.RequestHandlerClass.log = lambda *_: None  # type: ignore[attr-defined]  # werkzeug's, of its handler
    running.url = f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield running
    finally:
        running.closing.set()
        server.shutdown()
        thread.join()
        server.server_close()


def answering(status: int, body: bytes = b"{}", *, act: bool = True, header: tuple[str, str] | None = None) -> Fault:
    """Answer this, after the broker has done what it was asked, or instead of it."""

    def fault(app: Wsgi, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        if act:
            acted(app, environ)
        start(f"{status} so", [("Content-Type", "application/json"), *([header] if header else [])])
        return [body]

    return fault


def hanging(running: Running, *, act: bool, then: Callable[[], object] = lambda: None) -> Fault:
    """Do `then` and answer nothing until the test is over."""

    def fault(app: Wsgi, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        if act:
            acted(app, environ)
        then()
        running.closing.wait()
        start("500 over", [])
        return []

    return fault


def breaking_off(*, act: bool) -> Fault:
    """Begin an answer, and close the connection in the middle of it."""

    def fault(app: Wsgi, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        if act:
            acted(app, environ)
        start("201 Created", [("Content-Type", "application/json"), ("Content-Length", "1000")])
        return [b'{"credentials": {"uri": "mys']

    return fault


def acted(app: Wsgi, environ: WSGIEnvironment) -> None:
    """Let the broker do it, and swallow what it says."""
    list(app(environ, lambda *_: lambda _: None))
