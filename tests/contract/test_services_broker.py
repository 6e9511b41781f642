"""The kind `broker` against a broker made with openbrokerapi, well-behaved and not."""

import asyncio
import base64
import contextlib
import ipaddress
import json
import ssl
import traceback
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import TypeAlias

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from reconciler.planning.fingerprint import Json
from reconciler.services.provisioner import Grant, Misconfigured, Server, ServiceError, ServiceSpec
from reconciler.services.types.broker.client import MOST_BYTES, Timeouts
from reconciler.services.types.broker.operations import Conflict, OperationFailed
from reconciler.services.types.broker.provisioner import Broker
from reconciler.vault.secret import Secret
from tests.fakes.broker import TOKEN, Databases, Fault, Running, a_broker, answering, breaking_off, hanging

QUICK = Timeouts(request_s=5.0, step_s=8.0, mending_s=5.0, first_poll_s=0.001, longest_poll_s=0.005)
HASTY = replace(QUICK, request_s=0.4, step_s=2.0, mending_s=2.0)
LATER = answering(200, b'{"state": "in progress", "description": "9 to go"}', act=False, header=("Retry-After", "3600"))


@pytest.fixture
def databases() -> Databases:
    return Databases()


@pytest.fixture
def broker(databases: Databases) -> Iterator[Running]:
    with a_broker(databases) as running:
        yield running


@pytest.fixture
def service(broker: Running, tmp_path: Path) -> ServiceSpec:
    return asked(broker, tmp_path)


def asked(broker: Running, directory: Path, **options: Json) -> ServiceSpec:
    server = Server(
        name="market", type="broker", user="admin", password=Secret(TOKEN), options={"url": broker.url} | options
    )
    return ServiceSpec(
        id="0123456789ab",
        name="orders-db",
        type="broker",
        plan="small",
        server=server,
        asked={"service": "db"},
        directory=directory,
    )


Step: TypeAlias = Callable[[], Awaitable[object]]

GRANT = Grant(id="ba9876543210", app="shop", user="u", password=Secret("p"))
KIND = Broker(QUICK)


def run(step: Awaitable[object]) -> object:
    async def main() -> object:
        return await step

    return asyncio.run(main())


def fails(step: Awaitable[object], kind: type[ServiceError] = ServiceError) -> str:
    """What the step says when it does not work; never a secret, wherever one looks."""
    with pytest.raises(kind) as raised:
        run(step)
    whole = "".join(traceback.format_exception(raised.value))
    assert TOKEN not in whole
    assert type(raised.value) is kind
    return str(raised.value)


def story(service: ServiceSpec, kind: Broker = KIND) -> Iterator[tuple[str, Step]]:
    """Every step of a service's life."""
    yield "provision", lambda: kind.provision(service)
    yield "bind", lambda: kind.bind(service, GRANT)
    yield "unbind", lambda: kind.unbind(service, GRANT)
    yield "deprovision", lambda: kind.deprovision(service)


def insist(step: Step, times: int = 12) -> object:
    """Do it until it works, as the daemon does."""
    for _ in range(times - 1):
        with contextlib.suppress(ServiceError, asyncio.CancelledError):
            return run(step())
    return run(step())


def lived(
    service: ServiceSpec, databases: Databases, *, kind: Broker = KIND, amid: Callable[[Step], Step] = lambda step: step
) -> None:
    """Live through every step, with whatever goes wrong on the way, and count what is there."""
    for name, step in story(service, kind):
        made = insist(amid(step))
        if name == "provision":
            assert len(databases.instances) == 1
        if name == "bind":
            assert len(databases.instances) == len(databases.bindings) == 1
            assert made == next(iter(databases.bindings.values()))
    assert not databases.instances
    assert not databases.bindings
    assert list(service.directory.iterdir()) == []


class Killer:
    """Cancels whatever step makes a broker's request of this number."""

    def __init__(self, broker: Running, number: int, *, act: bool) -> None:
        self.cut = False
        self._step: asyncio.Task[object] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        broker.faults[number] = hanging(broker, act=act, then=self._strike)

    def _strike(self) -> None:
        assert self._step is not None
        assert self._loop is not None
        self.cut = True
        self._loop.call_soon_threadsafe(self._step.cancel)

    def __call__(self, step: Step) -> Step:
        async def watched() -> object:
            self._loop = asyncio.get_running_loop()
            self._step = asyncio.current_task()
            return await step()

        return watched


@pytest.mark.parametrize("busy", [0, 3])
def test_a_service_is_made_bound_unbound_and_removed(broker: Running, service: ServiceSpec, busy: int) -> None:
    broker.databases.busy = busy
    lived(service, broker.databases)


@pytest.mark.parametrize("busy", [0, 2])
def test_every_step_can_be_done_again(broker: Running, service: ServiceSpec, busy: int) -> None:
    broker.databases.busy = busy
    told: list[tuple[str, object]] = []
    for name, step in story(service):
        told += [(name, run(step())) for _ in range(3)]
    bound = [made for name, made in told if name == "bind"]
    assert bound[0] == bound[1] == bound[2]
    assert len(broker.databases.removed) == 2


@pytest.mark.parametrize("act", [False, True], ids=["before the broker acts", "after"])
@pytest.mark.parametrize("busy", [0, pytest.param(2, marks=pytest.mark.nightly)])
def test_killed_at_any_request_it_ends_with_one_of_each_and_no_orphan(tmp_path: Path, busy: int, act: bool) -> None:
    number, cut = 0, True
    while cut:
        databases = Databases(busy=busy)
        with a_broker(databases) as broker:
            directory = tmp_path / str(number)
            directory.mkdir()
            killer = Killer(broker, number, act=act)
            lived(asked(broker, directory), databases, amid=killer)
            cut = killer.cut
        number += 1
    assert number > 6


@pytest.mark.parametrize("busy", [0, 2])
def test_given_up_at_any_request_nothing_is_left(tmp_path: Path, busy: int) -> None:
    number, cut = 0, True
    while cut:
        databases = Databases(busy=busy)
        with a_broker(databases) as broker:
            directory = tmp_path / str(number)
            directory.mkdir()
            service = asked(broker, directory)
            killer = Killer(broker, number, act=True)
            with contextlib.suppress(asyncio.CancelledError):
                for _name, step in islice(story(service), 2):
                    run(killer(step)())
            cut = killer.cut
            broker.again()
            run(KIND.unbind(service, GRANT))
            run(KIND.deprovision(service))
            assert not databases.bindings
            assert not databases.instances
            assert not databases._going
            assert list(directory.iterdir()) == []
        number += 1
    assert number > 4


FAULTS: dict[str, Callable[[Running], Fault]] = {
    "500": lambda _: answering(500),
    "500 before": lambda _: answering(500, act=False),
    "204": lambda _: answering(204, b""),
    "not JSON": lambda _: answering(201, b"<html>"),
    "huge": lambda _: answering(201, b'{"a": "' + b"x" * MOST_BYTES + b'"}'),
    "busy": lambda _: answering(422, b'{"error": "ConcurrencyError"}', act=False),
    "breaks off": lambda _: breaking_off(act=True),
    "never answers": lambda running: hanging(running, act=True),
}


def awaiting(name: str) -> Broker:
    """A kind that waits no longer than this fault is worth."""
    return Broker(HASTY if name == "never answers" else QUICK)


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("busy", [0, pytest.param(1, marks=pytest.mark.nightly)])
def test_whatever_goes_wrong_with_a_request_it_ends_with_one_of_each_and_no_orphan(
    tmp_path: Path, name: str, busy: int
) -> None:
    number, clean = 0, False
    while not clean:
        databases = Databases(busy=busy)
        with a_broker(databases) as broker:
            directory = tmp_path / str(number)
            directory.mkdir()
            broker.faults[number] = FAULTS[name](broker)
            lived(asked(broker, directory), databases, kind=awaiting(name))
            clean = len(broker.requests) <= number
        number += 1
    assert number > 6


@pytest.mark.parametrize("name", FAULTS)
def test_an_instance_that_once_was_finished_is_never_removed_because_of_an_answer(
    broker: Running, service: ServiceSpec, name: str
) -> None:
    kind = awaiting(name)
    run(KIND.provision(service))
    bound = run(KIND.bind(service, GRANT))
    for asked_again in (kind.provision(service), kind.bind(service, GRANT)):
        broker.again()
        broker.always["PUT "] = FAULTS[name](broker)
        with contextlib.suppress(ServiceError):
            run(asked_again)
    broker.again()
    assert broker.databases.removed == []
    assert run(KIND.bind(service, GRANT)) == bound


def test_an_operation_that_takes_long_is_said_to_be_in_progress_and_gone_on_with(
    broker: Running, service: ServiceSpec
) -> None:
    broker.databases.busy = 1
    broker.always["GET last_operation"] = LATER
    said = fails(KIND.provision(service))
    assert said == "broker market: instance of orders-db still in progress: 9 to go"
    broker.again()
    run(KIND.provision(service))
    assert len(broker.databases.instances) == 1
    assert not any(request.startswith("DELETE") for request in broker.requests)


def test_an_operation_that_takes_longer_than_its_plan_allows_is_undone(broker: Running, service: ServiceSpec) -> None:
    broker.databases.busy = 10_000
    broker.always["GET last_operation"] = LATER
    hasty = replace(service, plan="hasty")
    note = service.directory / "broker-instance.json"
    assert "in progress" in fails(KIND.provision(hasty))
    noted = json.loads(note.read_text())
    note.write_text(json.dumps(noted | {"since_s": noted["since_s"] - 3600}))
    broker.always["DELETE "] = answering(200)
    said = fails(KIND.provision(hasty), OperationFailed)
    assert said == "broker market took longer with the instance of orders-db than its plan allows"
    assert broker.requests[-1].startswith("DELETE")
    assert not note.exists()
    broker.again()
    broker.databases.busy = 0
    run(KIND.provision(hasty))
    assert list(broker.databases.instances.values()) == [("hasty-id", None)]


def test_a_retry_after_is_kept_to(broker: Running, service: ServiceSpec) -> None:
    broker.databases.busy = 1
    broker.always["GET last_operation"] = LATER
    assert "still in progress: 9 to go" in fails(KIND.provision(service))
    assert sum("last_operation" in request for request in broker.requests) == 1


@pytest.mark.parametrize("status", [404, 410, 500])
def test_what_is_no_answer_about_an_operation_is_asked_again(
    broker: Running, service: ServiceSpec, status: int
) -> None:
    broker.databases.busy = 1
    broker.faults[2] = answering(status, b'{"state": "failed"}', act=False)
    run(KIND.provision(service))
    assert len(broker.databases.instances) == 1


def test_an_operation_that_failed_is_undone_and_made_anew(broker: Running, service: ServiceSpec) -> None:
    broker.databases.busy = 1
    broker.databases.fails = True
    said = fails(KIND.provision(service), OperationFailed)
    assert "no room on the host; leftovers are removed before the next attempt" in said
    broker.databases.fails = False
    insist(lambda: KIND.provision(service))
    assert len(broker.databases.instances) == 1


def test_a_plan_and_parameters_that_change_are_changed_at_the_broker(broker: Running, service: ServiceSpec) -> None:
    run(KIND.provision(service))
    bound = run(KIND.bind(service, GRANT))
    for busy in (0, 2):
        broker.databases.busy = busy
        broker.databases.updates.clear()
        sized: dict[str, Json] = {"service": "db", "parameters": {"size": busy}}
        changed = replace(service, plan=("large", "small")[busy // 2], asked=sized)
        run(KIND.provision(changed))
        assert list(broker.databases.instances.values()) == [(f"{changed.plan}-id", {"size": busy})]
        assert broker.databases.updates[0].previous_values.plan_id == f"{('small', 'large')[busy // 2]}-id"
    broker.databases.busy = 0
    run(KIND.provision(service))
    assert list(broker.databases.instances.values()) == [("small-id", None)]
    assert run(KIND.bind(service, GRANT)) == bound
    assert broker.databases.removed == []


def test_a_plan_that_may_not_change_is_told_and_nothing_is_touched(broker: Running, service: ServiceSpec) -> None:
    broker.databases.updateable = False
    run(KIND.provision(service))
    said = fails(KIND.provision(replace(service, plan="large")), Misconfigured)
    assert said == "db of broker market cannot change its plan from small to large"
    assert list(broker.databases.instances.values()) == [("small-id", None)]
    sized = replace(service, asked={"service": "db", "parameters": {"size": 2}})
    run(KIND.provision(sized))
    assert list(broker.databases.instances.values()) == [("small-id", {"size": 2})]


def test_what_was_begun_and_never_finished_is_made_anew_with_other_fields(
    broker: Running, service: ServiceSpec
) -> None:
    killer = Killer(broker, 1, act=True)
    with pytest.raises(asyncio.CancelledError):
        run(killer(lambda: KIND.provision(service))())
    assert list(broker.databases.instances.values()) == [("small-id", None)]
    run(KIND.provision(replace(service, plan="large")))
    assert list(broker.databases.instances.values()) == [("large-id", None)]
    assert broker.databases.updates == []


@pytest.mark.parametrize(
    ("status", "body", "undone"),
    [
        (200, b"<html>", False),
        (201, b"<html>", True),
        (201, b'{"credentials": {"a": "' + b"x" * MOST_BYTES + b'"}}', True),
        (203, b"{}", True),
        (400, b"{}", False),
        (401, b"{}", False),
        (404, b"{}", False),
        (408, b"{}", False),
        (422, b"{}", False),
        (500, b"{}", True),
        (503, b"", True),
    ],
)
def test_what_may_be_left_is_undone_when_the_api_says_so(
    broker: Running, service: ServiceSpec, status: int, body: bytes, undone: bool
) -> None:
    broker.always["PUT "] = answering(status, body)
    with pytest.raises(ServiceError):
        run(KIND.provision(service))
    assert any(request.startswith("DELETE") for request in broker.requests) == undone
    broker.again()
    run(KIND.provision(service))
    broker.again()
    broker.always["PUT service_bindings"] = answering(status, body)
    with pytest.raises(ServiceError):
        run(KIND.bind(service, GRANT))
    assert any("DELETE" in request and "service_bindings" in request for request in broker.requests) == undone
    assert len(broker.databases.instances) == 1


def test_a_binding_is_removed_by_its_own_note(broker: Running, service: ServiceSpec) -> None:
    run(KIND.provision(service))
    run(KIND.bind(service, GRANT))
    (service.directory / "broker-instance.json").unlink()
    run(KIND.unbind(service, GRANT))
    assert broker.databases.bindings == {}


def test_an_instance_that_is_said_to_be_gone_and_is_not_is_left_alone(broker: Running, service: ServiceSpec) -> None:
    run(KIND.provision(service))
    broker.always["PATCH "] = answering(404, act=False)
    fails(KIND.provision(replace(service, plan="large")), Conflict)
    broker.again()
    run(KIND.provision(replace(service, plan="large")))
    assert list(broker.databases.instances.values()) == [("large-id", None)]
    assert broker.databases.removed == []


def test_the_environment_names_no_way_to_a_broker(service: ServiceSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    run(KIND.provision(service))


def test_what_could_not_be_removed_is_removed_before_anything_else(broker: Running, service: ServiceSpec) -> None:
    run(KIND.provision(service))
    broker.again()
    broker.always |= {"PUT service_bindings": answering(500), "DELETE ": answering(502, act=False)}
    said = fails(KIND.bind(service, GRANT))
    assert "leftovers are removed before the next attempt (broker market cannot remove the binding" in said
    (left,) = broker.databases.bindings.values()
    broker.again()
    assert run(KIND.bind(service, GRANT)) != left
    assert [request.partition(" ")[0] for request in broker.requests] == ["GET", "DELETE", "PUT"]
    assert len(broker.databases.bindings) == 1


def test_an_instance_that_is_gone_while_it_is_changed_is_made(broker: Running, service: ServiceSpec) -> None:
    run(KIND.provision(service))
    broker.databases.instances.clear()
    broker.always["PATCH "] = answering(410, act=False)
    run(KIND.provision(replace(service, plan="large")))
    assert list(broker.databases.instances.values()) == [("large-id", None)]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"asked": {"service": "queue"}}, "broker market has no service 'queue'; it offers db"),
        ({"plan": "free"}, "broker market has no plan 'free' of db; it offers dark, hasty, large, small"),
        ({"asked": {}}, "broker market has no service None; it offers db"),
        ({"server": None}, "no broker is named: set 'server' to one of the host's settings"),
    ],
)
def test_what_is_not_there_is_named_with_what_is(service: ServiceSpec, change: dict[str, object], said: str) -> None:
    assert fails(KIND.provision(replace(service, **change)), Misconfigured) == said  # type: ignore[arg-type]


def test_a_refusal_is_told_in_the_brokers_words_without_what_opens_it(broker: Running, service: ServiceSpec) -> None:
    told: dict[str, Json] = {"size": "enormous", "keys": [{"api": "k-3141592653"}]}
    enormous = replace(service, asked={"service": "db", "parameters": told})
    said = fails(KIND.provision(enormous), Misconfigured)
    assert said == "broker market refuses to make the instance of orders-db (400): size is out of range ••• •••"
    assert not any(request.startswith("DELETE") for request in broker.requests)


@pytest.mark.parametrize(
    ("status", "body", "kind", "said"),
    [
        (401, b"{}", Misconfigured, "rejects the user, password or token"),
        (302, b"{}", Misconfigured, "redirects to another address"),
        (408, b"{}", ServiceError, "answers 408"),
        (429, b"{}", ServiceError, "answers 429"),
        (422, b'{"error": "ConcurrencyError"}', ServiceError, "busy with another operation"),
        (422, b'{"error": "AsyncRequired"}', Misconfigured, "does not support asynchronous operations"),
        (422, b'{"error": "RequiresApp", "description": "no app"}', Misconfigured, "no app"),
        (418, b"\xff\xfe", ServiceError, "answers 418"),
        (500, b'{"description": "\\u001b[31m' + b"a" * 5000 + b'"}', ServiceError, "a…"),
    ],
)
def test_each_answer_has_its_meaning(
    broker: Running, service: ServiceSpec, status: int, body: bytes, kind: type[ServiceError], said: str
) -> None:
    header = ("Location", f"{broker.url}/elsewhere")
    broker.always["PUT "] = answering(status, body, act=False, header=header)
    told = fails(KIND.provision(service), kind)
    assert said in told
    assert len(told) < 500
    assert told.isprintable()
    assert any(request.startswith("DELETE") for request in broker.requests) == (status == 500)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [(404, b"{}", Misconfigured), (412, b"{}", Misconfigured), (500, b"", ServiceError), (200, b"[]", ServiceError)],
)
def test_a_catalog_that_is_none_is_told(
    broker: Running, service: ServiceSpec, status: int, body: bytes, kind: type[ServiceError]
) -> None:
    broker.always["GET catalog"] = answering(status, body)
    assert "catalog" in fails(KIND.provision(service), kind) or status == 412


def test_what_this_host_cannot_give_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    for need, words in (("route_forwarding", "a route service"), ("volume_mount", "a volume to be mounted")):
        with a_broker(Databases(requires=(need,))) as broker:
            assert words in fails(KIND.provision(asked(broker, tmp_path)), Misconfigured)
            assert broker.requests == ["GET /v2/catalog"]


def test_a_plan_without_bindings_is_told(service: ServiceSpec) -> None:
    dark = replace(service, plan="dark")
    run(KIND.provision(dark))
    assert (
        fails(KIND.bind(dark, GRANT), Misconfigured) == "plan dark of db has no credentials: apps cannot be bound to it"
    )


@pytest.mark.parametrize("extra", [{"route_service_url": "https://r.test"}, {"volume_mounts": [{"driver": "nfs"}]}])
def test_a_binding_that_wants_what_this_host_has_not_is_undone(
    broker: Running, service: ServiceSpec, extra: dict[str, object]
) -> None:
    broker.databases.extra = extra
    run(KIND.provision(service))
    assert "is not supported" in fails(KIND.bind(service, GRANT), Misconfigured)
    assert broker.databases.bindings == {}


def test_a_log_drain_is_left_alone(broker: Running, service: ServiceSpec) -> None:
    run(KIND.provision(service))
    broker.always["PUT service_bindings"] = answering(201, b'{"syslog_drain_url": "syslog://logs.test"}')
    assert run(KIND.bind(service, GRANT)) == {}


def test_credentials_that_are_told_only_once_are_made_anew_when_they_were_missed(
    broker: Running, service: ServiceSpec
) -> None:
    broker.databases.once = True
    broker.databases.retrievable = False
    run(KIND.provision(service))
    run(KIND.bind(service, GRANT))
    first = dict(broker.databases.bindings)
    said = fails(KIND.bind(service, GRANT))
    assert said.endswith("returned no credentials, and cannot return them again: it is replaced at the next attempt")
    made = run(KIND.bind(service, GRANT))
    assert list(broker.databases.bindings.values()) == [made]
    assert broker.databases.bindings != first


def test_credentials_of_a_binding_that_took_its_time_are_asked_for_again(broker: Running, service: ServiceSpec) -> None:
    broker.databases.retrievable = False
    broker.databases.busy = 2
    run(KIND.provision(service))
    assert run(KIND.bind(service, GRANT)) == next(iter(broker.databases.bindings.values()))


def test_nothing_is_asked_that_cannot_be_noted(broker: Running, service: ServiceSpec) -> None:
    nowhere = replace(service, directory=service.directory / "nowhere")
    assert "cannot note the broker request" in fails(KIND.provision(nowhere))
    (service.directory / "broker-instance.json").write_text("{")
    for _name, step in story(service):
        broker.again()
        if _name != "bind":
            assert "cannot read the request noted in" in fails(step())
        assert broker.requests in ([], ["GET /v2/catalog"])


@pytest.mark.parametrize("value", [float("nan"), "\ud800"])
def test_parameters_that_json_cannot_say_are_refused(service: ServiceSpec, value: Json) -> None:
    odd = replace(service, asked={"service": "db", "parameters": {"size": value}})
    assert "hold what JSON cannot say" in fails(KIND.provision(odd), Misconfigured)


def test_a_binding_that_the_broker_changed_or_lost_is_noticed_and_set_right(
    broker: Running, service: ServiceSpec
) -> None:
    run(KIND.provision(service))
    held = asyncio.run(KIND.bind(service, GRANT))
    assert run(KIND.verify(service, GRANT, held)) is None
    (key,) = broker.databases.bindings
    broker.databases.bindings[key] = {"uri": "mysql://other"}
    assert run(KIND.verify(service, GRANT, held)) == "broker market holds other credentials"
    held = asyncio.run(KIND.bind(service, GRANT))
    assert held == {"uri": "mysql://other"}
    broker.databases.bindings.clear()
    assert run(KIND.verify(service, GRANT, held)) == "broker market no longer has the binding"
    held = asyncio.run(KIND.bind(service, GRANT))
    assert run(KIND.verify(service, GRANT, held)) is None
    broker.always["GET service_bindings"] = answering(500)
    fails(KIND.verify(service, GRANT, held))
    broker.databases.retrievable = False
    assert run(KIND.verify(service, GRANT, {})) is None


def test_two_grants_are_two_bindings_of_one_instance(broker: Running, service: ServiceSpec) -> None:
    other = replace(GRANT, id="000000000001")
    run(KIND.provision(service))
    assert run(KIND.bind(service, GRANT)) != run(KIND.bind(service, other))
    run(KIND.unbind(service, GRANT))
    assert len(broker.databases.bindings) == len(broker.databases.instances) == 1


def test_what_was_never_asked_of_a_broker_is_removed_without_asking_it(broker: Running, service: ServiceSpec) -> None:
    run(KIND.unbind(service, GRANT))
    run(KIND.deprovision(service))
    assert broker.requests == []


def test_a_broker_that_is_down_is_told_and_nothing_is_lost(databases: Databases, tmp_path: Path) -> None:
    with a_broker(databases) as broker:
        service = asked(broker, tmp_path)
        run(KIND.provision(service))
    for _name, step in story(service):
        assert fails(step()) == "cannot reach broker market: Connection refused"


def test_a_bearer_token_opens_it_and_every_request_says_who_asks(broker: Running, tmp_path: Path) -> None:
    service = asked(broker, tmp_path, auth="bearer")
    run(KIND.provision(service))
    run(KIND.bind(service, GRANT))
    for sent in broker.headers:
        assert sent["HTTP_X_BROKER_API_VERSION"] == "2.17"
        assert sent["HTTP_AUTHORIZATION"] == f"Bearer {TOKEN}"
        platform, _, who = sent["HTTP_X_BROKER_API_ORIGINATING_IDENTITY"].partition(" ")
        assert platform == "reconciler"
        assert json.loads(base64.b64decode(who))["service"] == "orders-db"
    assert len({sent["HTTP_X_BROKER_API_REQUEST_IDENTITY"] for sent in broker.headers}) == len(broker.headers)
    wrong = replace(service, server=replace(service.server, password=Secret("tok-8f2c41\nX: y")))  # type: ignore[type-var]
    assert "not allowed in a header" in fails(KIND.provision(wrong), Misconfigured)


def test_an_address_with_a_password_in_it_is_refused_without_showing_it(broker: Running, tmp_path: Path) -> None:
    for url in (f"http://admin:{TOKEN}@127.0.0.1:1", f"ftp://{TOKEN}", f"http://x:{TOKEN}y", ""):
        assert "broker market" in fails(KIND.provision(asked(broker, tmp_path, url=url)), Misconfigured)


def test_a_certificate_is_believed_only_when_its_authority_is_named(tmp_path: Path) -> None:
    certificate = a_certificate(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    with a_broker(Databases(), tls) as broker:
        assert "CERTIFICATE_VERIFY_FAILED" in fails(KIND.provision(asked(broker, tmp_path)))
        assert "cannot read the ca" in fails(
            KIND.provision(asked(broker, tmp_path, ca=str(tmp_path / "no"))), Misconfigured
        )
        assert broker.requests == []
        run(KIND.provision(asked(broker, tmp_path, ca=str(certificate))))


def test_what_no_broker_can_do_is_impossible(service: ServiceSpec) -> None:
    fails(KIND.back_up(service, Path("dump")), Misconfigured)
    fails(KIND.restore(service, Path("dump")), Misconfigured)
    assert run(KIND.size_bytes(service)) is None


def a_certificate(directory: Path) -> Path:
    """A key and a certificate for 127.0.0.1 that nobody else signed, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "broker")])
    now = datetime.now(UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = directory / "broker.pem"
    shape = serialization.PrivateFormat.PKCS8
    written = key.private_bytes(serialization.Encoding.PEM, shape, serialization.NoEncryption())
    file.write_bytes(written + made.public_bytes(serialization.Encoding.PEM))
    return file
