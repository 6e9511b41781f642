"""A manifest says that an app has no web server, or it has one: no slip of the pen decides that."""

import pytest

from reconciler.manifests.allocation import Ports, Proposal, allocate
from reconciler.manifests.app_document import HostDefaults
from reconciler.manifests.parse_file import parse

JOBS = "path: x\nweb: false\nschedules: {a: {command: a, every: 1h}}\n"


def refused(text: str) -> list[str]:
    return [f"{each.path}: {each.message}" for each in parse("/m/jobs.yaml", text.encode(), HostDefaults()).problems]


def test_it_has_no_address_and_takes_no_port_also_where_every_app_has_a_domain() -> None:
    entry = parse("/m/jobs.yaml", JOBS.encode(), HostDefaults(domain="{app}.example.com"))
    shop = parse("/m/shop.yaml", b"path: x\n", HostDefaults())
    candidates = {
        "/m/jobs.yaml": Proposal(proposed=entry.apps, in_force=()),
        "/m/shop.yaml": Proposal(proposed=shop.apps, in_force=()),
    }
    found = allocate(candidates, {"jobs": 9000}, Ports(range=range(9000, 9001), is_free=lambda *_: True))
    assert (found.refused, found.leases) == ({}, {"shop": 9000})
    assert (found.apps["jobs"].address, found.apps["jobs"].routing) == (None, None)
    assert not found.apps["jobs"].recipe.web


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("path: x\nweb: false\n", "web: false requires 'processes' or 'schedules'"),
        ("path: x\nweb: false\nprocesses: {}\n", "web: false requires 'processes' or 'schedules'"),
        (f"{JOBS}port: 8000\n", "port: is for a web server, which this app does not have"),
        (f"{JOBS}domains: [a.example.com]\n", "domains: is for a web server"),
        (f"{JOBS}command: [node, a.js]\n", "command: is for a web server"),
        (f"{JOBS}state: maintenance\n", "state: maintenance is for a web server"),
        (f"{JOBS.replace('false', 'flase')}", "web: expected true or false, not 'flase'"),
        (f"{JOBS.replace('web', 'wbe')}", "wbe: "),
    ],
)
def test_what_belongs_to_a_web_server_and_a_slip_of_the_pen_are_refused(text: str, why: str) -> None:
    (problem,) = refused(text)
    assert problem.startswith(why), problem
