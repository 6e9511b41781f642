"""The fields `isolation` and `mounts` of an app: what is read, and what is refused in words."""

from reconciler.manifests.app_document import HostDefaults
from reconciler.manifests.isolation_fields import IsolationRules
from reconciler.manifests.parse_file import Parsed, parse
from reconciler.planning.isolation.confinement import NOT_ISOLATED, Isolated, Mount

STRICT = HostDefaults(isolation=IsolationRules(default="strict", required=("files",), mounts=("/srv/media", "/m/data")))
PLAIN = HostDefaults()


def read(text: str, host: HostDefaults) -> Parsed:
    return parse("/m/shop.yaml", f"path: x\n{text}\n".encode(), host)


def isolation_of(text: str, host: HostDefaults = PLAIN) -> Isolated:
    (document,) = read(text, host).apps
    return document.unleased.isolation


def refused(text: str, host: HostDefaults = PLAIN) -> list[str]:
    return [f"{problem.line} {problem.path}: {problem.message}" for problem in read(text, host).problems]


def test_the_manifest_says_or_else_the_host() -> None:
    assert isolation_of("") == NOT_ISOLATED
    assert isolation_of("isolation: strict") == isolation_of("", STRICT) == Isolated(kind="strict")


def test_a_user_alone_goes_with_neither_mounts_nor_network() -> None:
    assert isolation_of("isolation: user") == Isolated(kind="user")
    assert refused("isolation: user", STRICT) == [
        "2 isolation: is less than the settings of this host require, which is files"
    ]
    for text in ("mounts: [{from: /srv/media}]", "network: {listen: true}", "network: {connect: none}"):
        (problem,) = refused(f"isolation: user\n{text}")
        assert "requires 'isolation: strict'" in problem


def test_mounts_are_absolute() -> None:
    text = "mounts: [{from: /srv/media/a, as: media, write: true}, {from: data}]"
    assert isolation_of(text, STRICT).mounts == (
        Mount(path="/srv/media/a", link="media", write=True),
        Mount(path="/m/data"),
    )


def test_an_app_without_a_network_is_isolated_and_opens_no_port() -> None:
    none = "network: {connect: none}"
    assert isolation_of(f"isolation: strict\n{none}") == Isolated(kind="strict", connects="none")
    assert isolation_of("isolation: strict\nnetwork: {connect: all}") == Isolated(kind="strict")
    assert refused(none) == ["2 network.connect: requires 'isolation: strict', which keeps the app from the network"]
    assert refused(f"isolation: strict\ncommand: [x]\nlisten: port\n{none}") == [
        "5 network.connect: leaves the app no port to open: 'listen' has to be descriptor or socket"
    ]


def test_a_list_says_where_an_app_may_connect_and_names_the_entry_that_cannot_be_meant() -> None:
    listed = 'network: {connect: [DB.internal:5432, "443", 443, 10.1.2.3/8]}'
    found = isolation_of(f"isolation: strict\n{listed}")
    assert found == Isolated(kind="strict", connects="listed", places=("db.internal:5432", "443", "10.0.0.0/8"))
    assert refused(listed) == ["2 network.connect: requires 'isolation: strict', which holds the app to a list"]
    assert refused("isolation: strict\nnetwork: {connect: [db, db:http, 10.0.0.0/40]}") == [
        "3 network.connect[1]: has no port: a port is a number from 1 to 65535",
        "3 network.connect[2]: expected a host, a network or a port, such as db.internal:5432, 10.0.0.0/8 or 443",
    ]
    for text in ("[]", "db", "[70000]", "[{a: 1}]", "[true]"):
        (problem,) = refused(f"isolation: strict\nnetwork: {{connect: {text}}}")
        assert "network.connect" in problem
        assert "expected" in problem


def test_a_list_that_rules_of_the_kernel_hold_is_no_part_of_a_revision() -> None:
    held = HostDefaults(isolation=IsolationRules(filters=lambda: True))
    one, other = (f"isolation: strict\nnetwork: {{connect: [{each}]}}" for each in ("db", "cache"))
    assert isolation_of(one, held) != isolation_of(other, held)
    assert isolation_of(one, held).of_revision == isolation_of(other, held).of_revision
    assert isolation_of(one).of_revision != isolation_of(other).of_revision, "ports take another instance"
    assert isolation_of(one, held).of_revision != isolation_of("isolation: strict", held).of_revision


def test_an_app_that_opens_ports_says_so() -> None:
    opens = "network: {listen: true}"
    assert isolation_of(f"isolation: strict\n{opens}") == Isolated(kind="strict", listens="all")
    assert refused(opens) == ["2 network.listen: requires 'isolation: strict': another app may open any port"]
    assert refused("isolation: strict\nnetwork: {listen: true, connect: none}") == [
        "3 network.listen: is true, and 'connect: none' leaves the app no port to open"
    ]


def test_only_directories_that_the_host_names_may_be_seen() -> None:
    allowed = "isolation.mounts names only /srv/media, /m/data and what is below"
    for path in ("/srv", "/srv/medial", "/srv/x", "/etc"):
        (problem,) = refused(f"mounts: [{{from: {path}}}]", STRICT)
        assert problem == f"2 mounts[0].from: is no directory that apps may see here: {allowed}"
    (problem,) = refused("mounts: [{from: /srv/media/../x}]", STRICT)
    assert problem == "2 mounts[0].from: names a directory by '..': write where it is"
    (problem,) = refused("isolation: strict\nmounts: [{from: /srv}]")
    assert problem.endswith("isolation.mounts names none")


def test_less_than_the_host_requires_is_refused() -> None:
    assert refused("isolation: none", STRICT) == [
        "2 isolation: is less than the settings of this host require, which is files"
    ]


def test_a_host_that_requires_the_network_takes_strict_alone() -> None:
    host = HostDefaults(isolation=IsolationRules(default="strict", required=("network",)))
    assert isolation_of("", host) == Isolated(kind="strict")
    assert refused("isolation: user", host) == [
        "2 isolation: is less than the settings of this host require, which is network"
    ]


def test_mounts_without_isolation_are_refused() -> None:
    (problem,) = refused("mounts: [{from: /srv/media}]")
    assert problem.startswith("2 mounts: requires 'isolation: strict'")


def test_what_is_no_isolation_is_refused() -> None:
    assert refused("isolation: lax") == ["2 isolation: expected strict, user or none, not 'lax'"]
    assert refused("isolation: [strict]") == ["2 isolation: expected strict, user or none, not a list"]
    assert refused("isolation: {}") == ["2 isolation: expected strict, user or none, not an empty mapping"]


def test_isolation_makes_another_revision_and_none_makes_none() -> None:
    (plain,), (none,), (strict,) = (
        read(text, HostDefaults()).apps for text in ("", "isolation: none", "isolation: strict")
    )
    ids = [each.unleased.revision("content").id for each in (plain, none, strict)]
    assert ids[0] == ids[1] != ids[2]
