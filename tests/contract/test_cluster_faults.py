"""Faults of an API server, scripted: nothing that was seen is lost, nothing is asked in a hot loop, all recovers."""

import asyncio
from functools import partial
from pathlib import Path
from typing import Any, Self

import pytest

from reconciler.cluster.api.client import ApiError, Client
from reconciler.cluster.api.kubeconfig import AccessError, access_of
from reconciler.cluster.ownership import APP, INSTALLATION, kept_replicas
from reconciler.cluster.versions import PLURALS
from reconciler.cluster.watched import WatchedObjects
from tests.support.drains import on_loop
from tests.support.eventually import soon
from tests.support.kube_api import Fault, KubeApi, kubeconfig

pytestmark = pytest.mark.contract


def secret(name: str, value: str = "1") -> dict[str, Any]:
    labels = {INSTALLATION: "here", APP: "shop"}
    return {"kind": "Secret", "apiVersion": "v1", "metadata": {"name": name, "labels": labels}, "data": {"a": value}}


class Pauses:
    """Notes how long is waited, and does not: it only lets others have their turn. Waits for ever after `most`."""

    def __init__(self, most: int = 1000) -> None:
        self.seconds: list[float] = []
        self._most = most

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)
        if len(self.seconds) >= self._most:
            await asyncio.Event().wait()
        await asyncio.sleep(0.01)


class Looking:
    """What watches one kind of an API server."""

    def __init__(self, api: KubeApi, directory: Path, pauses: Pauses) -> None:
        self.woken: list[str] = []
        self.busy = Pauses()
        file = kubeconfig(directory, f"http://127.0.0.1:{api.port}")
        self.client = Client(partial(access_of, file), "web", "reconciler/here", sleep=self.busy)
        self.watched = WatchedObjects(self.client, "here", self.woken.append, sleep=pauses)

    def names(self) -> list[str]:
        return sorted(name for _, name in self.watched.of("shop")[0])

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self.watched.watch("Secret"))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self.client.close()


def on_watches(fault: Fault) -> Any:
    return lambda method, path: fault if "watch=1" in path else None


@pytest.mark.parametrize("fault", [410, 429, 500, 503, "before", "after"])
@on_loop
async def test_a_watch_that_never_works_is_tried_less_and_less_often_and_nothing_seen_is_lost(
    api: KubeApi, tmp_path: Path, fault: Fault
) -> None:
    api.put(secret("one"))
    api.fault = on_watches(fault)
    pauses = Pauses(6)
    async with Looking(api, tmp_path, pauses) as looking:
        await soon(lambda: len(pauses.seconds) == 6)
        assert pauses.seconds == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4]
        assert looking.names() == ["one"]
        assert looking.watched.unseen == ""  # each list was answered
        assert [method for method, _ in api.asked] == ["GET"] * 6


@pytest.mark.parametrize("fault", [410, 500, "before"])
@on_loop
async def test_what_happens_while_a_watch_does_not_work_is_in_the_next_list(
    api: KubeApi, tmp_path: Path, fault: Fault
) -> None:
    api.put(secret("one"))
    async with Looking(api, tmp_path, Pauses()) as looking:
        await soon(lambda: looking.names() == ["one"])
        api.fault = on_watches(fault)
        api.forget_events()
        api.remove("Secret", "one")
        api.put(secret("two"))
        await soon(lambda: looking.names() == ["two"])
        api.fault = lambda *_: None
        api.put(secret("three"))
        await soon(lambda: looking.names() == ["three", "two"])


@pytest.mark.parametrize("fault", [401, 403, 404, 429, 500, "before", "after"])
@on_loop
async def test_a_server_that_cannot_be_asked_is_told_loses_nothing_and_is_seen_again(
    api: KubeApi, tmp_path: Path, fault: Fault
) -> None:
    api.put(secret("one"))
    async with Looking(api, tmp_path, Pauses()) as looking:
        await soon(lambda: looking.names() == ["one"])
        api.fault = lambda *_: fault
        api.forget_events()  # the watch that is open ends
        await soon(lambda: looking.watched.unseen != "")
        assert looking.names() == ["one"]
        assert "" in looking.woken  # every app is looked at, and tells it
        api.fault = lambda *_: None
        await soon(lambda: looking.watched.unseen == "")
        assert looking.names() == ["one"]


@on_loop
async def test_a_right_to_watch_that_is_missing_is_told_in_the_words_of_the_server(
    api: KubeApi, tmp_path: Path
) -> None:
    api.put(secret("one"))
    api.fault = on_watches(403)
    async with Looking(api, tmp_path, Pauses()) as looking:
        await soon(lambda: looking.watched.unseen == "scripted 403")
        assert looking.names() == ["one"]
        api.fault = lambda *_: None
        api.put(secret("two"))
        await soon(lambda: looking.watched.unseen == "" and looking.names() == ["one", "two"])


@on_loop
async def test_a_server_that_is_too_busy_is_asked_nothing_for_as_long_as_it_says(api: KubeApi, tmp_path: Path) -> None:
    looking = Looking(api, tmp_path, Pauses())
    client, busy = looking.client, looking.busy
    api.retry_after = "7"
    api.fault = lambda *_: 429
    with pytest.raises(ApiError, match="scripted 429"):
        await client.apply(secret("one"), force=False)
    assert busy.seconds == []
    api.fault = lambda *_: None
    await client.apply(secret("one"), force=False)
    (waited,) = busy.seconds
    assert 6 < waited <= 7
    # What is no number of seconds is a second; nobody has us wait for a day.
    for said, most in (("Wed, 21 Oct 2026 07:28:00 GMT", 7), ("86400", 60)):
        api.retry_after, api.fault = said, lambda *_: 503
        with pytest.raises(ApiError):
            await client.get("Secret", "one")
        api.fault = lambda *_: None
        await client.get("Secret", "one")
        assert 0 < busy.seconds[-1] <= most
    client.close()


@on_loop
async def test_a_connection_that_ended_while_nothing_was_asked_is_no_failure(api: KubeApi, tmp_path: Path) -> None:
    client = Looking(api, tmp_path, Pauses()).client
    await client.apply(secret("one"), force=False)  # its connection is kept
    faults: list[Fault | None] = ["before", None]
    api.fault = lambda *_: faults.pop(0)
    await client.delete("Secret", "one", api.of("Secret", "one")["metadata"]["uid"])
    assert faults == []
    assert api.names() == []
    client.close()


@on_loop
async def test_an_answer_that_is_lost_is_an_error_and_doing_it_again_is_none(api: KubeApi, tmp_path: Path) -> None:
    client = Looking(api, tmp_path, Pauses()).client
    faults: list[Fault | None] = ["after", None]
    api.fault = lambda *_: faults.pop(0)
    with pytest.raises(ApiError, match="cannot be asked"):
        await client.apply(secret("one"), force=False)
    first = await client.apply(secret("one"), force=False)
    assert first == api.of("Secret", "one")
    # One of that name that is made anew is not the one that was meant.
    api.fault = lambda *_: None
    api.remove("Secret", "one")
    api.put(secret("one"))
    with pytest.raises(ApiError, match="UID"):
        await client.delete("Secret", "one", first["metadata"]["uid"])
    assert api.names() == ["Secret/one"]
    client.close()


@on_loop
async def test_an_answer_that_comes_after_a_later_change_does_not_hide_it(api: KubeApi, tmp_path: Path) -> None:
    api.put(secret("one"))
    async with Looking(api, tmp_path, Pauses()) as looking:
        await soon(lambda: looking.names() == ["one"])
        answer = await looking.client.apply(secret("one", "2"), force=True)
        api.put(secret("one", "3"), "kubectl-edit")
        await soon(lambda: looking.watched.of("shop")[0]["Secret", "one"]["data"] == {"a": "3"})
        looking.watched.note({**answer, "kind": "Secret"})
        assert looking.watched.of("shop")[0]["Secret", "one"]["data"] == {"a": "3"}


@on_loop
async def test_what_is_to_have_as_many_replicas_as_an_autoscaler_says_keeps_those_that_there_are(
    api: KubeApi, tmp_path: Path
) -> None:
    client = Looking(api, tmp_path, Pauses()).client

    def deployment(**spec: Any) -> dict[str, Any]:
        metadata = {"name": "shop", "labels": {INSTALLATION: "here", APP: "shop"}}
        return {"kind": "Deployment", "apiVersion": "apps/v1", "metadata": metadata, "spec": {"paused": False, **spec}}

    seen = await client.apply(deployment(replicas=3), force=False)
    assert kept_replicas(deployment(replicas=4), seen, "here") is None
    assert kept_replicas(deployment(), seen, "others") is None
    kept = kept_replicas(deployment(), seen, "here")
    assert kept is not None
    await client.apply(kept, force=True, part="scale")
    seen = await client.apply(deployment(), force=False)
    assert seen["spec"] == {"paused": False, "replicas": 3}
    assert kept_replicas(deployment(), seen, "here") is None
    # An autoscaler goes on from there, and a number in the manifest is taken back.
    seen = api.put({"kind": "Deployment", "metadata": {"name": "shop"}, "spec": {"replicas": 7}}, "autoscaler")
    assert kept_replicas(deployment(), seen, "here") is None
    assert (await client.apply(deployment(replicas=2), force=True))["spec"]["replicas"] == 2
    # Without that, there would be none.
    seen = await client.apply(deployment(), force=False)
    assert "replicas" not in seen["spec"]
    client.close()


@pytest.mark.parametrize("kind", ["HTTPRoute", "Secret"])
@on_loop
async def test_a_kind_that_a_cluster_lacks_is_seen_as_empty_unless_every_cluster_has_it(
    api: KubeApi, tmp_path: Path, kind: str
) -> None:
    api.fault = lambda _, path: 404 if f"/{PLURALS[kind]}" in path else None
    looking = Looking(api, tmp_path, Pauses(2))
    task = asyncio.create_task(looking.watched.watch(kind))
    await soon(lambda: len(api.asked) > 0)
    await soon(lambda: (looking.watched.unseen != "") == (kind == "Secret"))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    looking.client.close()


def test_a_token_is_sent_to_no_other_host_unencrypted(tmp_path: Path) -> None:
    for server in ("http://127.0.0.1:80", "http://[::1]:80", "http://localhost", "https://k.example.com:6443"):
        assert access_of(kubeconfig(tmp_path, server, token="t")).token == "t"
    assert access_of(kubeconfig(tmp_path, "http://k.example.com")).token == ""
    for host in ("k.example.com", "10.0.0.1", "localhost.example.com"):
        with pytest.raises(AccessError, match=f"would send a token to {host} unencrypted: give its server as https://"):
            access_of(kubeconfig(tmp_path, f"http://{host}:8080", token="t"))


def with_token(api: KubeApi, directory: Path, token: str) -> None:
    """Have a kubeconfig with a file of a token, and in that the token."""
    (directory / "token").write_text(f"{token}\n")
    kubeconfig(directory, f"http://127.0.0.1:{api.port}", tokenFile="token")


@on_loop
async def test_a_token_that_ends_in_a_watch_is_told_and_the_renewed_one_is_in_use_at_once(
    api: KubeApi, tmp_path: Path
) -> None:
    api.token = "first"
    api.put(secret("one"))
    async with Looking(api, tmp_path, Pauses()) as looking:
        with_token(api, tmp_path, "first")
        await soon(lambda: looking.names() == ["one"] and looking.watched.unseen == "")
        api.token = "second"
        api.forget_events()  # the watch that is open ends
        await soon(lambda: looking.watched.unseen == "Unauthorized")
        api.put(secret("two"))
        assert looking.names() == ["one"]
        with_token(api, tmp_path, "second")
        await soon(lambda: looking.names() == ["one", "two"] and looking.watched.unseen == "")


@on_loop
async def test_a_connection_that_was_kept_from_before_a_token_was_renewed_refuses_nothing(
    api: KubeApi, tmp_path: Path
) -> None:
    client = Looking(api, tmp_path, Pauses()).client
    for token in ("first", "second", "third"):
        api.token = token
        with_token(api, tmp_path, token)
        await asyncio.gather(*(client.apply(secret(f"{token}-{index}"), force=False) for index in range(4)))
    assert len(api.names("Secret")) == 12
    asked = len(api.asked)
    api.token = "fourth"
    with pytest.raises(ApiError, match="Unauthorized") as refused:
        await client.get("Secret", "first-0")
    assert refused.value.status == 401
    assert len(api.asked) == asked + 2  # once more, on a new connection, and not again
    client.close()
