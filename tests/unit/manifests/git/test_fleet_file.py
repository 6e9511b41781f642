"""fleet.yaml is understood as a whole, or refused with every problem at its place."""

import json

import pytest

from reconciler.documents.schemas import schema
from reconciler.manifests.git.fleet_file import fleet_of, is_fleet
from reconciler.planning.fleet.fleet import Fleet, Portion

KEYS = [f"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{'A' * 42}{last}" for last in "AQg"]
GOOD = f"""\
kind: fleet
hosts:
  canary1: {{ring: canary, key: {KEYS[0]}}}
  web1: {{ring: web, rack: 3, key: {KEYS[1]} root@web1}}
waves:
  - {{name: canary, hosts: {{ring: canary}}, well_for: 30m, eager: true}}
  - {{name: early, share: 10%, well_for: 2h, at_once: 2}}
  - {{name: rest, at_once: 25%}}
silent_after: 2h
freeze: [{{from: "2026-12-24", to: "2026-12-27"}}, {{from: "2026-12-30T12:00Z", to: "2026-12-30T13:00Z"}}]
"""


def test_a_fleet_is_understood() -> None:
    fleet = fleet_of("fleet.yaml", GOOD.encode())
    assert isinstance(fleet, Fleet)
    assert fleet.hosts["web1"].labels == {"ring": "web", "rack": "3"}
    assert fleet.hosts["web1"].key == KEYS[1]
    canary, early, rest = fleet.waves
    assert (canary.labels, canary.well_for_s, canary.eager) == ({"ring": "canary"}, 1800, True)
    assert (early.share, early.at_once) == (Portion(fraction=0.1), Portion(count=2))
    assert (rest.share, rest.at_once) == (None, Portion(fraction=0.25))
    assert (fleet.gate, fleet.silent_after_s) == ("reports", 7200)
    days, hour = fleet.freezes
    assert (days.end - days.begin, hour.end - hour.begin) == (4 * 86400, 3600)


def test_the_example_of_the_schema_is_a_fleet() -> None:
    for example in schema("fleet")["examples"]:
        assert isinstance(fleet_of("fleet.yaml", json.dumps(example).encode()), Fleet)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("well_for: 30m", "well_fro: 30m", "6:43: waves[0].well_fro: unknown field 'well_fro'"),
        ("well_for: 30m", "well_for: soon", "6:53: waves[0].well_for: expected a duration such as 10s"),
        ("share: 10%", "share: 110%", "7:26: waves[1].share: expected a number of hosts, or a percentage"),
        (KEYS[0], "ssh-rsa AAAA", "3:32: hosts.canary1.key: expected a public key of ssh-ed25519"),
        (KEYS[1], KEYS[0], "4:35: hosts.web1.key: is the key of canary1: each host needs a key of its own"),
        ("ring: canary}, well", "ring: canery}, well", "6:27: waves[0].hosts: no host has these labels"),
        ("name: rest", "name: early", "8:12: waves[2].name: another wave is named 'early'"),
        ("{name: rest,", "{name: rest, share: 5,", "4:9: hosts.web1: web1 may be in no wave"),
        ("eager: true", "after: 2h", "6:65: waves[0].after: is for 'gate: time'"),
        ("silent_after: 2h", "silent_after: 1s", "9:15: silent_after: must be at least 20s"),
        ('"2026-12-27"', '"2026-12-23"', "10:10: freeze[0]: ends before it begins"),
        ('"2026-12-27"', '"2026-13-40"', "10:10: freeze[0]: ends before it begins, or names"),
        ("canary1:", '"a..b":', "3:3: hosts.a..b: expected a host name"),
        ("silent_after: 2h", "gate: time", "6:53: waves[0].well_for: needs reports"),
        ("kind: fleet", "---\nkind: fleet\n---\nkind: fleet", "4:1: is a second document; a fleet is one document"),
        ("kind: fleet", "kind: flet", "1:7: kind: expected fleet, not 'flet'"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_place(old: str, new: str, problem: str) -> None:
    found = fleet_of("fleet/fleet.yaml", GOOD.replace(old, new, 1).encode())
    assert isinstance(found, list)
    assert str(found[0]).startswith(f"fleet/fleet.yaml:{problem}"), [*map(str, found)]


def test_a_manifest_of_that_name_is_no_fleet() -> None:
    assert is_fleet(GOOD.encode())
    assert is_fleet(b"kind: fleet\nhosts: 3\n")
    assert not is_fleet(b"path: apps/fleet\n")
    assert not is_fleet(b"")
    assert not is_fleet(b"kind: [")
