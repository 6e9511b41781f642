"""The field `instances`: a number or a range for an app in a cluster, and none on a host."""

import pytest

from reconciler.manifests.app_document import HostDefaults
from reconciler.manifests.parse_file import Parsed, parse
from reconciler.planning.scaling.instance_range import ONE, InstanceRange

HOST = HostDefaults(clusters=frozenset(("prod",)))


def parsed(text: str, host: HostDefaults = HOST) -> Parsed:
    return parse("/m/blog.yaml", f"path: /apps/blog\n{text}".encode(), host)


def said(text: str, host: HostDefaults = HOST) -> list[str]:
    return [f"{each.line}: {each.path}: {each.message}" for each in parsed(text, host).problems]


def instances(text: str) -> InstanceRange:
    found = parsed(f"place: prod\n{text}")
    assert found.problems == ()
    return found.apps[0].unleased.instances


def test_a_number_and_a_range_are_read_with_their_defaults() -> None:
    assert instances("") == instances("instances: 1") == ONE
    assert instances("instances: 3") == InstanceRange(least=3)
    assert instances("instances: {max: 4}") == InstanceRange(least=1, most=4, cpu=70)
    assert instances("instances: {min: 2, max: 10, cpu: 60}") == InstanceRange(least=2, most=10, cpu=60)


def test_another_number_is_the_same_revision() -> None:
    apps = [parsed(f"place: prod\ninstances: {each}").apps[0].unleased for each in ("1", "3", "{max: 4}")]
    assert len({app.revision("c1").id for app in apps}) == 1
    assert len({app.fingerprint for app in apps}) == 3


def test_a_host_runs_one_instance_and_says_what_to_do_for_more() -> None:
    message = "one host runs one instance: remove it, and raise 'workers', or have 'place' name a cluster"
    for text in ("instances: 2", "place: here\ninstances: {max: 4}"):
        assert said(text) == [f"{text.count(chr(10)) + 2}: instances: {message}"]
    assert said("instances: 1") == []
    # An export is for a cluster that no settings of this host need to know.
    assert said("instances: 2", HostDefaults(clusters=None)) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0", "instances: expected a number of instances between 1 and 1000, or min and max"),
        ("two", "instances: expected a number of instances between 1 and 1000, or min and max"),
        ("{min: 2}", "instances.max: is required"),
        ("{min: 4, max: 4}", "instances.min: must be less than 'max', which is 4: or give a number in place of both"),
        ("{max: 4, cpu: 70%}", "instances.cpu: expected a number of percent such as 70"),
        ("{max: 4, least: 2}", "instances.least: unknown field 'least'; the fields here are cpu, max, min"),
    ],
)
def test_what_is_wrong_is_said_where_it_stands(text: str, message: str) -> None:
    (found,) = said(f"place: prod\ninstances: {text}")
    assert found.partition(": ")[2].startswith(message)


def test_an_app_without_a_web_server_has_none() -> None:
    (found,) = said("place: prod\nweb: false\ninstances: 2\nprocesses: {worker: python w.py}")
    assert "instances: is for a web server" in found
