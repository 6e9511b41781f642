"""Manifests from a repository get no file, command, address or name beyond what its origin may have."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from reconciler.documents.schema_checks import problems_of
from reconciler.documents.schemas import schema
from reconciler.documents.tree import Node, trees_of
from reconciler.manifests.git.fence import Surroundings, beyond_fence, declared_services, named_files
from reconciler.manifests.git.field_reach import PLACES, Reach
from reconciler.planning.origins.may import May

FILE = "hosts/web1/shop.yaml"
NARROW = May()
AROUND = Surroundings(
    port_range=range(20000, 21000),
    apps={"billing": "/etc/reconciler/manifests/billing.yaml"},
    services={"payroll-db": "/etc/reconciler/manifests/payroll.yaml"},
    ports={20001: "the app 'billing'"},
    declared=frozenset({"shop-db"}),
    servers={"postgresql": ("main", "spare")},
)
SERVICE = "kind: service\nname: shop-db\ntype: user-provided\n"


def tree(text: str) -> Node:
    (found,), problems = trees_of(FILE, text)
    assert problems == []
    assert problems_of(FILE, "service" if "kind: service" in text else "app", found) == []
    return found


def refused(text: str, may: May = NARROW, around: Surroundings = AROUND) -> list[str]:
    return [str(problem) for problem in beyond_fence(FILE, tree(text), may, around)]


OUTSIDE = "leads out of the repository, to a path that the origin may not use (may.paths)"
LEADS_OUT = "leads out of the repository; expected a path inside it, with '..' only at the beginning"


def test_a_manifest_that_stays_inside_is_accepted() -> None:
    text = """\
path: ../../apps/shop
runtime: python3.12
services: [shop-db]
port: 20500
host: localhost
env: {LEVEL: /not/a/path, KEY: {file: secrets/key}}
env_files: [../../all/shop.env]
holding_page: 503.html
release: /usr/bin/env python manage.py migrate
gunicorn: {worker_tmp_dir: /dev/shm, max_requests: 1000}
health: {path: /etc/passwd}
persist: [media]
depends_on: [billing]
"""
    assert refused(text) == []
    assert refused("kind: service\nname: shop-db\ntype: postgresql\n") == []


def test_an_app_runs_here_unless_its_origin_may_run_apps_in_a_cluster() -> None:
    assert refused("path: a\nplace: here\n") == []
    assert refused("path: a\nplace: prod\n") == [
        f"{FILE}:2:8: place: the origin may not run apps in the cluster 'prod' (may.places: [])"
    ]
    assert refused("path: a\nplace: prod-eu\n", May(places=("prod-*",))) == []
    assert refused("path: a\nplace: prod\n", May(places=("prod-*",))) == [
        f"{FILE}:2:8: place: the origin may not run apps in the cluster 'prod' (may.places: [prod-*])"
    ]


@pytest.mark.parametrize("path", ["/", "/etc/reconciler/key", "/srv/../etc", "//etc/passwd"])
@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("path: {}\n", "1:7: path"),
        ("path: a\nholding_page: {}\n", "2:15: holding_page"),
        ("path: a\nenv:\n  OK: {{file: k}}\n  X: {{file: {}}}\n", "4:13: env.X.file"),
        ("path: a\nprocesses: {{w: {{env: {{X: {{file: {}}}}}}}}}\n", "2:33: processes.w.env.X.file"),
        (
            "path: a\nschedules: {{s: {{command: x, every: 1h, env: {{X: {{file: {}}}}}}}}}\n",
            "2:56: schedules.s.env.X.file",
        ),
        ("path: a\nenv_files: [ok.env, {}]\n", "2:21: env_files[1]"),
        ("path: a\nruntime: {}\n", "2:10: runtime"),
        ("path: a\ngunicorn: {{certfile: {}}}\n", "2:22: gunicorn.certfile"),
        ("path: a\ngunicorn: {{pythonpath: [{}]}}\n", "2:25: gunicorn.pythonpath[0]"),
        (SERVICE + "credentials_file: {}\n", "4:19: credentials_file"),
        (SERVICE + "credentials: {{a: {{file: {}}}}}\n", "4:25: credentials.a.file"),
    ],
)
def test_an_absolute_path_is_refused_with_its_line_and_column(text: str, place: str, path: str) -> None:
    if path == "/" and "runtime" in text:
        return  # the schema refuses it
    assert refused(text.format(path)) == [f"{FILE}:{place}: {OUTSIDE}"]


@pytest.mark.parametrize("path", ["../../../etc/passwd", "link/../../x", "../../apps/../../x"])
@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("path: {}\n", "1:7: path"),
        ("path: a\nholding_page: {}\n", "2:15: holding_page"),
        ("path: a\nenv: {{X: {{file: {}}}}}\n", "2:17: env.X.file"),
        ("path: a\nenv_files: [{}]\n", "2:13: env_files[0]"),
        ("path: a\ngunicorn: {{keyfile: {}}}\n", "2:21: gunicorn.keyfile"),
        (SERVICE + "credentials_file: {}\n", "4:19: credentials_file"),
        (SERVICE + "credentials: {{a: {{file: {}}}}}\n", "4:25: credentials.a.file"),
    ],
)
def test_a_path_that_leaves_the_repository_or_could_behind_a_link_is_refused(text: str, place: str, path: str) -> None:
    assert refused(text.format(path)) == [f"{FILE}:{place}: {LEADS_OUT}"]


def test_a_command_with_the_daemons_rights_is_refused_unless_it_is_allowed() -> None:
    text = f"{SERVICE}command: [vault-read, /any/argument]\n"
    said = "is a command with the daemon's rights, which the origin may not run (may.commands)"
    assert refused(text) == [f"{FILE}:4:11: command[0]: {said}"]
    allowed = May(commands=True)
    assert refused(text, allowed) == []
    assert refused(f"{SERVICE}command: [../../bin/read]\n", allowed) == []
    assert refused(f"{SERVICE}command: [../../../bin/read]\n", allowed) == [f"{FILE}:4:11: command[0]: {LEADS_OUT}"]
    assert refused(f"{SERVICE}command: [/bin/sh, -c, id]\n", allowed) == [f"{FILE}:4:11: command[0]: {OUTSIDE}"]


def test_no_message_quotes_what_may_be_a_secret() -> None:
    found = refused(SERVICE + "command: [/hunter2]\ncredentials: {a: {file: /hunter2}}\n")
    found += refused("path: a\nenv: {X: {file: /hunter2}}\n")
    assert len(found) == 3
    assert not any("hunter2" in each for each in found)


def test_paths_that_are_allowed_hold_with_all_below_them_and_nothing_beside() -> None:
    may = May(paths=("/srv/media", "/usr/bin/python3.12"))
    assert refused("path: /srv/media/shop\nruntime: /usr/bin/python3.12\n", may) == []
    for path in ("/srv/media2", "/srv", "/srv/media/../../etc"):
        assert refused(f"path: {path}\n", may) == [f"{FILE}:1:7: path: {OUTSIDE}"]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "::ffff:127.0.0.1", "::1"])
def test_an_address_other_than_this_host_itself_is_refused(host: str) -> None:
    said = f"the origin may only listen on 127.0.0.1, not {host} (may.hosts)"
    assert refused(f'path: a\nhost: "{host}"\n') == [f"{FILE}:2:7: host: {said}"]
    assert refused(f'path: a\nhost: "{host}"\n', May(hosts=("127.0.0.1", host))) == []


def test_a_port_outside_the_hosts_range_or_of_another_app_is_refused() -> None:
    said = "the origin may only use the host's ports 20000 to 20999, not 443 (may.ports)"
    assert refused("path: a\nport: 443\n") == [f"{FILE}:2:7: port: {said}"]
    assert refused("path: a\nport: 20001\n") == [f"{FILE}:2:7: port: port 20001 belongs to the app 'billing'"]
    allowed = May(ports=(range(443, 444),))
    assert refused("path: a\nport: 443\n", allowed) == []
    assert refused("path: a\nport: 20500\n", allowed) == [
        f"{FILE}:2:7: port: the origin may not use port 20500 (may.ports)"
    ]


def test_the_name_of_another_origins_app_is_refused_also_when_the_file_gives_it() -> None:
    said = "the app 'billing' belongs to /etc/reconciler/manifests/billing.yaml"
    assert refused("name: billing\npath: a\n") == [f"{FILE}:1:7: name: {said}"]
    (found,) = beyond_fence("hosts/web1/billing.yaml", tree("path: a\n"), NARROW, AROUND)
    assert (found.line, found.column, found.message) == (1, 1, said)


def test_names_are_held_to_the_patterns() -> None:
    may = May(apps=("shop-*", "blog"))
    assert refused("name: shop-web\npath: a\n", may) == []
    said = "the origin may not have an app named 'shop' (may.apps: [shop-*, blog])"
    assert refused("path: a\n", may) == [f"{FILE}:1:1: name: {said}"]


def test_only_services_that_the_origin_declares_are_bound_by_default() -> None:
    said = "the origin may only bind services that it declares itself, not 'payroll-db' (may.services)"
    assert refused("path: a\nservices: [shop-db, payroll-db]\n") == [f"{FILE}:2:21: services[1]: {said}"]
    assert refused("path: a\nservices: [{name: payroll-db}]\n") == [f"{FILE}:2:19: services[0].name: {said}"]
    allowed = May(services=("payroll-*",))
    assert refused("path: a\nservices: [payroll-db]\n", allowed) == []
    (found,) = refused("path: a\nservices: [shop-db]\n", allowed)
    assert found.endswith("the origin may not bind the service 'shop-db' (may.services: [payroll-*])")


def test_a_service_of_others_is_not_made_bindable_by_declaring_it_too() -> None:
    text = "kind: service\nname: payroll-db\ntype: postgresql\nretain: false\n"
    said = "the service 'payroll-db' belongs to /etc/reconciler/manifests/payroll.yaml"
    around = replace(AROUND, declared=declared_services([tree(text)]))
    assert refused(text, around=around) == [f"{FILE}:2:7: name: {said}"]
    assert refused(text, May(services=("*",)), around) == [f"{FILE}:2:7: name: {said}"]
    (found,) = refused("path: a\nservices: [payroll-db]\n", around=around)
    assert "may only bind services that it declares itself" in found


def test_a_service_whose_data_is_retained_is_the_hosts_until_the_settings_give_it() -> None:
    text = "kind: service\nname: old-db\ntype: sqlite\n"
    around = replace(AROUND, declared=declared_services([tree(text)]), retained=frozenset({"old-db"}))
    (found,) = refused(text, around=around)
    assert found.startswith(f"{FILE}:2:7: name: the data of a former service 'old-db' is this host's, and kept")
    (found,) = refused("path: a\nservices: [old-db]\n", around=around)
    assert "may only bind services that it declares itself" in found
    assert refused(text, May(services=("old-*",)), around) == []
    (found,) = refused(text, May(services=("shop-*",)), around)
    assert "the origin may not declare the service 'old-db'" in found


def test_services_are_created_on_allowed_servers_only() -> None:
    may = May(servers=("main",))
    text = "kind: service\nname: shop-db\ntype: postgresql\n"
    assert refused(f"{text}server: main\n", may) == []
    said = "the origin may not create services on the server 'spare' (may.servers: [main])"
    assert refused(f"{text}server: spare\n", may) == [f"{FILE}:4:9: server: {said}"]
    said = "is required here: the origin may not use every server of the host (may.servers)"
    assert refused(text, may) == [f"{FILE}:1:1: server: {said}"]
    assert refused(text, may, replace(AROUND, servers={"postgresql": ("main",)})) == []
    assert refused("kind: service\nname: a\ntype: sqlite\n", may) == []


def places(part: Any, at: tuple[str, ...], definitions: Any) -> Iterator[tuple[str, ...]]:
    """Every place of a schema that can hold a value: a plain one, or a mapping of any names."""
    part = definitions[part["$ref"].rpartition("/")[2]] | part if "$ref" in part else part
    types = part.get("type", "string")
    types = {types} if isinstance(types, str) else set(types)
    inner = [(*at, name) for name in part.get("properties", ())]
    for name, child in part.get("properties", {}).items():
        yield from places(child, (*at, name), definitions)
    if isinstance(part.get("additionalProperties"), dict):
        inner.append((*at, "*"))
        yield from places(part["additionalProperties"], (*at, "*"), definitions)
    if "items" in part:
        inner.append((*at, "[]"))
        yield from places(part["items"], (*at, "[]"), definitions)
    if not inner or types - {"object", "array"}:
        yield at


@pytest.mark.parametrize("kind", ["app", "service"])
def test_every_place_of_the_schema_is_known_to_the_fence(kind: str) -> None:
    document = schema(kind)
    found = set(places(document, (), document.get("$defs", {})))
    assert found == set(PLACES[kind]), "say in the fence what the new place can reach"


# What a description of a place that names a file or a command says; others are read by their name.
_WORDS = ("path", "file", "command", "program", "interpreter", "directory")
# Places whose description has such a word, and which nothing but the app or a server ever reads as a path.
_NONE_OF_OURS = {
    ("kind",), ("name",), ("env", "*"), ("credentials", "*"), ("gunicorn", "*"), ("health", "path"), ("health", "host"),
    ("health", "interval"), ("health", "timeout"), ("health", "failures"), ("entrypoint",), ("backup", "every"),
    ("below",), ("strip",), ("tls",), ("static", "*"), ("processes", "*", "env", "*"),
    ("schedules", "*", "env", "*"),
}  # fmt: skip


@pytest.mark.parametrize("kind", ["app", "service"])
def test_a_place_that_describes_a_file_or_a_command_reaches_one(kind: str) -> None:
    for place, reach in PLACES[kind].items():
        part: Any = schema(kind)
        for step in place:
            part = {"[]": part.get("items"), "*": part.get("additionalProperties")}.get(step) or part["properties"][
                step
            ]
        said = part.get("description", "").lower()
        if any(word in said for word in _WORDS) and place not in _NONE_OF_OURS:
            assert reach is not Reach.NOTHING, f"{place}: {said}"


def test_a_field_that_the_fence_does_not_know_is_refused() -> None:
    (new,), _ = trees_of(FILE, "path: a\nprivileges: [{from: /etc, as: x}]\nenv: {X: {command: id}}\n")
    said = "is a field that manifests of a repository may not use yet"
    found = [str(problem) for problem in beyond_fence(FILE, new, NARROW, AROUND)]
    assert found == [f"{FILE}:2:13: privileges: {said}", f"{FILE}:3:20: env.X.command: {said}"]


def test_the_files_that_a_document_names_are_told_with_their_paths() -> None:
    text = "path: ../../apps/shop\nenv: {KEY: {file: key}}\nenv_files: [/etc/x]\nruntime: python3\n"
    assert named_files(FILE, tree(text)) == [(("env", "KEY", "file"), "hosts/web1/key"), (("path",), "apps/shop")]
    text = f"{SERVICE}command: [./read, ./argument]\n"
    assert named_files(FILE, tree(text)) == [(("command", 0), "hosts/web1/read")]


def test_a_domain_of_another_origin_is_refused_at_every_path_unless_the_origin_may_have_it() -> None:
    holder = "/etc/reconciler/manifests/web.yaml"
    around = replace(AROUND, domains={"www.example.com": holder, "*.a.example.com": holder})
    text = "path: a\nbelow: /login\ndomains: [{}]\n"
    for name in ("www.example.com", "WWW.Example.COM.", "x.a.example.com", "'*.a.example.com'"):
        (said,) = refused(text.format(name), around=around)
        assert said.startswith(f"{FILE}:3:11: domains[0]: the domain")
        assert said.endswith(f"belongs to {holder}: name it in 'may.domains' to share it")
    for name in ("shop.example.com", "example.com", "x.y.a.example.com", "'*.example.com'"):
        assert refused(text.format(name), around=around) == []
    both = "path: a\ndomains: [b.example.com]\nredirects: [www.example.com]\n"
    assert len(refused(both, around=around)) == 1


def test_the_domains_of_an_origin_are_those_that_it_may_have() -> None:
    around = replace(AROUND, domains={"www.example.com": "another manifest"})
    may = May(domains=("www.example.com", "*.a.example.com"))
    text = "path: a\ndomains: [{}]\n"
    assert refused(text.format("www.example.com"), may, around) == []
    assert refused(text.format("X.A.example.com"), may, around) == []
    said = "the origin may not have the domain 'b.example.com' (may.domains: [www.example.com, *.a.example.com])"
    assert refused(text.format("b.example.com"), may, around) == [f"{FILE}:2:11: domains[0]: {said}"]
    assert len(refused("path: a\ndomains: [www.example.com]\nredirects: [b.example.com]\n", may, around)) == 1
    assert len(refused(text.format("b.example.com"), May(domains=()), around)) == 1
