"""Where the proxy of a host leads clients of apps in a cluster, and when it is to: what is known, and what is kept."""

from pathlib import Path
from typing import Any

import pytest

from reconciler.cluster.entries import entry_of
from reconciler.cluster.leads import Lead, Leads
from reconciler.planning.plan import Plan
from reconciler.planning.reason import Reason
from reconciler.planning.routing.route import Entry
from reconciler.planning.states import AppState
from reconciler.settings.clusters import Cluster

INGRESS = {
    "kind": "Ingress",
    "spec": {"tls": [{"hosts": ["shop.example.com"]}]},
    "status": {"loadBalancer": {"ingress": [{"ip": "10.0.0.7"}]}},
}
SERVICE = {"kind": "Service", "spec": {"clusterIP": "fd00::7", "ports": [{"port": 8080}]}}


def at(dial: str, **known: Any) -> Entry:
    return Entry(place="prod", dial=dial, **known)


def cluster(entry: str, ca: Path | None = None) -> Cluster:
    return Cluster(name="prod", kubeconfig=Path("k"), namespace="web", registry="r", entry=entry, entry_ca=ca)


def planned(reason: Reason = Reason.NONE, state: AppState = "running") -> "Plan[Any]":
    return Plan(actions=(), state=state, reason=reason)


@pytest.mark.parametrize(
    ("entry", "seen", "found"),
    [
        ("", {}, None),
        ("http://10.0.0.5", {}, at("10.0.0.5:80")),
        (
            "https://edge.example.com:8443",
            {},
            at("edge.example.com:8443", tls=True, ca="/ca.pem"),
        ),
        ("https://[fd00::5]", {}, at("[fd00::5]:443", tls=True, ca="/ca.pem")),
        ("ingress", {}, None),
        ("ingress", {("Ingress", "shop"): {**INGRESS, "status": {"loadBalancer": {}}}}, None),
        ("ingress", {("Ingress", "shop"): INGRESS}, at("10.0.0.7:443", tls=True, ca="/ca.pem")),
        ("ingress", {("Ingress", "shop"): {**INGRESS, "spec": {}}}, at("10.0.0.7:80")),
        ("service", {("Service", "shop"): SERVICE}, at("[fd00::7]:8080", routed=False)),
        ("service", {("Service", "shop"): {"spec": {"clusterIP": "None"}}}, None),
    ],
)
def test_the_entry_is_that_of_the_settings_or_what_the_cluster_has(entry: str, seen: Any, found: Entry | None) -> None:
    assert entry_of(cluster(entry, Path("/ca.pem")), "shop", seen) == found


def test_clients_are_led_away_once_an_app_is_there_and_not_before() -> None:
    leads = Leads(cluster("http://10.0.0.5"), lambda *_: None)
    entry, moves = at("10.0.0.5:80"), list[Lead | None]()
    leads.on_move = lambda: moves.append(leads.of("shop"))
    assert leads.of("shop") is None
    for now, reason, placed in (
        (1.0, Reason.HANDING_OVER, True), (2.0, Reason.DOMAINS_CHANGED, True), (6.9, Reason.SERVING_AT_BOTH, True),
        (7.0, Reason.DOMAINS_CHANGED, True), (8.0, Reason.DRIFTED, True), (9.0, Reason.NONE, True),
        (14.0, Reason.NONE, True), (15.0, Reason.NONE, False),
    ):  # fmt: skip
        leads.take("shop", planned(reason), {}, now, placed=placed)
        moves.append(None)
    led, away = Lead(entry=entry), Lead(entry=entry, away=True)
    # A drain, 5 s, after it is all there.
    assert moves == [led, None, None, None, away, None, led, None, None, away, None, led, None]
    moves.clear()
    leads.forget("shop")
    assert moves == [None]


def test_without_an_entry_clients_are_led_away_only_once_the_overlap_is_over() -> None:
    leads = Leads(cluster(""), lambda *_: None)
    leads.take("shop", planned(Reason.SERVING_AT_BOTH), {}, 1.0, placed=True)
    assert leads.of("shop") == Lead()
    leads.take("shop", planned(Reason.DOMAINS_CHANGED), {}, 1.0, placed=True)
    assert leads.of("shop") == Lead(away=True)
    assert leads.waiting == {"shop"}
    leads.take("shop", planned(), {}, 1.0, placed=True)
    assert leads.waiting == set()


def test_an_address_that_was_found_is_kept_while_the_cluster_cannot_be_looked_at() -> None:
    noted: dict[str, Any] = {}
    leads = Leads(cluster("ingress"), lambda name, entry: noted.update({name: {"entry": entry}}))
    leads.take("shop", planned(), {("Ingress", "shop"): {**INGRESS, "spec": {}}}, 1.0, placed=True)
    leads.take("shop", planned(), {}, 9.0, placed=True)
    assert leads.of("shop") == Lead(entry=at("10.0.0.7:80"), away=True)
    other = Leads(cluster("ingress"), lambda *_: None)
    other.restore("shop", noted["shop"])
    assert other.of("shop") == Lead(entry=at("10.0.0.7:80"))
    # Of a setting that is gone, or another one, nothing is kept.
    for entry, found in (("", None), ("http://10.0.0.5", at("10.0.0.5:80"))):
        today = Leads(cluster(entry), lambda *_: None)
        today.restore("shop", noted["shop"])
        assert today.of("shop") == Lead(entry=found)


def test_since_when_the_proxy_leads_somewhere_is_counted_from_when_that_is_seen_first() -> None:
    leads = Leads(cluster("http://10.0.0.5"), lambda *_: None)
    assert leads.led_since("shop", 1.0, asked=True) == ("nowhere", 0.0)
    leads.led = lambda _: "here"
    assert leads.led_since("shop", 2.0, asked=False) == ("nowhere", 0.0)
    assert [leads.led_since("shop", now, asked=True) for now in (3.0, 4.0)] == [("here", 3.0)] * 2
    leads.led = lambda _: "there"
    assert [leads.led_since("shop", now, asked=True) for now in (5.0, 6.0)] == [("there", 5.0)] * 2


def test_neither_a_full_disk_nor_what_another_version_has_noted_keeps_an_app_from_being_led_to() -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    leads, moves = Leads(cluster("service"), full), list[int]()
    leads.on_move = lambda: moves.append(1)
    leads.restore("shop", {"entry": {"dial": "10.0.0.7:80", "of_tomorrow": True}})
    assert leads.of("shop") == Lead()
    leads.take("shop", planned(Reason.HANDING_OVER), {("Service", "shop"): SERVICE}, 1.0, placed=True)
    assert leads.of("shop") == Lead(entry=at("[fd00::7]:8080", routed=False))
    assert moves == [1]
