"""Domains of manifests: what is wrong with them has its place, and no two apps have one."""

from pathlib import Path as FilePath

import pytest

from reconciler.manifests.app_document import HostDefaults
from reconciler.manifests.catalog import Catalog, Rules, review
from reconciler.manifests.origin import Listing
from reconciler.manifests.parse_file import parse
from reconciler.planning.routing.routing import Certificate, Routing
from reconciler.settings.proxy import Proxy, ProxyFile

RULES = Rules(host=HostDefaults(), ports=range(20000, 20100), is_free=lambda host, port: True, prune_after_s=0)


def routing(text: str) -> Routing | None:
    parsed = parse("/m/shop.yaml", f"path: x\n{text}\n".encode(), HostDefaults())
    assert not parsed.problems, parsed.problems
    return parsed.apps[0].unleased.routing


def problems(text: str) -> list[str]:
    return [str(each) for each in parse("/m/shop.yaml", f"path: x\n{text}\n".encode(), HostDefaults()).problems]


def reviewed(*looks: dict[str, str], rules: Rules = RULES) -> Catalog:
    catalog = Catalog()
    for files in looks:
        content = {f"/m/{stem}.yaml": text.encode() for stem, text in files.items()}
        catalog = review(catalog, [Listing(origin="/m", files=content, identity=(1, 1))], rules, 0)
    return catalog


def refusals(catalog: Catalog) -> list[str]:
    return [str(problem) for entry in catalog.files.values() for problem in entry.problems]


def test_every_field_becomes_what_it_says() -> None:
    text = """\
domains: [Shop.Example.com., bücher.example]
redirects: [www.shop.example.com]
below: /api/
strip: true
tls: {certificate: {file: c.pem}, key: {file: /k.pem}}
http: serve
hsts: 180d
body_limit: 10M
answer_timeout: 35s
login: {file: secrets/users}
allow_from: [10.0.0.1/8, "2001:db8::1"]
static: {/static/: ./staticfiles/, /: public}"""
    assert routing(text) == Routing(
        domains=("shop.example.com", "xn--bcher-kva.example"),
        redirects=("www.shop.example.com",),
        below="/api",
        strip=True,
        tls="files",
        certificate=Certificate(chain="/m/c.pem", key="/k.pem"),
        http="serve",
        hsts_s=180 * 86400.0,
        body_limit=10 * 2**20,
        answer_timeout_s=35.0,
        login="/m/secrets/users",
        allow_from=("10.0.0.0/8", "2001:db8::1/128"),
        static=(("/", "public"), ("/static", "staticfiles")),
    )
    assert routing("domains: [a.example.com]\ntls: off") == Routing(domains=("a.example.com",), tls="off")
    assert routing("workers: 2") is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("domains: [shop_x.example.com]", "/m/shop.yaml:2:11: domains[0]: 'shop_x.example.com' is no host name"),
        ("domains: [a.example.com, A.example.com.]", "2:26: domains[1]: 'a.example.com' is listed in domains already"),
        ("domains: [a.example.com]\nredirects: [a.example.com]", "3:13: redirects[0]: 'a.example.com' is listed in"),
        ("domains: a.example.com,b.example.com", "2:10: domains: expected a list of different DNS names"),
        ("domains: ['*.example.com']", "2:11: domains[0]: '*.example.com' is a wildcard, for which the proxy gets no"),
        ("domains: [a.example.com]\nredirects: ['*.example.com']", "3:13: redirects[0]: is a wildcard"),
        ("redirects: [a.example.com]", "2:12: redirects: requires 'domains'"),
        ("domains: [a.example.com]\nstrip: true", "3:8: strip: requires 'below'"),
        ("domains: [a.example.com]\nbelow: /a?b", "3:8: below: expected a path of letters"),
        ("domains: [a.example.com]\nbelow: /../x", "3:8: below: expected a path of letters"),
        ("static: {/static: x}", "2:9: static: requires 'domains'"),
        ("domains: [a.example.com]\nstatic: {static: x}", "3:10: static.static: expected a path of the app's"),
        ("domains: [a.example.com]\nstatic: {/a/../b: x}", "3:19: static./a/../b: expected a path of the app's"),
        ("domains: [a.example.com]\nstatic: {/a: x, /a/: y}", "static./a/: '/a' is the same path"),
        ("domains: [a.example.com]\nstatic: {/a: ../x}", "static./a: expected a directory of the app's source or"),
        ("domains: [a.example.com]\nstatic: {/a: /etc}", "static./a: expected a directory of the app's source or"),
        ("domains: [a.example.com]\nstatic: {/a: x/../..}", "static./a: expected a directory of the app's source"),
        ("domains: [a.example.com]\nstatic: {/a: .}", "static./a: expected a directory of the app's source or"),
        ("domains: [a.example.com]\nstatic: {/a: x/.git}", "static./a: has a name that begins with a dot"),
        (
            "domains: [a.example.com]\npersist: [media/]\nstatic: {/a: x, /b: media/img, /c: media2}",
            "static./b: is persisted, and so no part of the build: leave it to the app",
        ),
        ("domains: [a.example.com]\ntls: yes", "3:6: tls: expected auto, internal, off, or"),
        ("domains: [a.example.com]\ntls: off\nhsts: 1d", "4:7: hsts: has no meaning with 'tls: off'"),
        ("domains: [a.example.com]\nbody_limit: 0K", "3:13: body_limit: must be greater than zero"),
        ("domains: [a.example.com]\nallow_from: [10.0.0.0/33]", "3:14: allow_from[0]: expected an address"),
        ("hosts: [a.example.com]", "2:1: hosts: unknown field 'hosts'; did you mean 'domains'"),
    ],
)  # fmt: skip
def test_a_problem_has_its_place(text: str, problem: str) -> None:
    (found,) = problems(text)
    assert problem in found


@pytest.mark.parametrize(
    ("proxy", "problem"),
    [
        (Proxy(run=True), ""),
        (Proxy(), "requires 'proxy.static' in the host's settings: a directory that the proxy's user can read"),
        (Proxy(static=FilePath("/srv/x")), ""),
        (Proxy(file=ProxyFile(format="nginx", path=FilePath("/x")), static=FilePath("/srv/x")), ""),
        (
            Proxy(file=ProxyFile(format="haproxy", path=FilePath("/x"))),
            "HAProxy serves no files: leave them to the app, or to Caddy or nginx",
        ),
        (
            Proxy(file=ProxyFile(format="traefik", path=FilePath("/x"))),
            "Traefik serves no files: leave them to the app, or to Caddy or nginx",
        ),
    ],
)
def test_static_files_are_refused_where_the_proxy_cannot_serve_them(proxy: Proxy, problem: str) -> None:
    text = b"path: x\ndomains: [a.example.com]\nstatic: {/static: x}\n"
    found = parse("/m/shop.yaml", text, HostDefaults(no_static=proxy.no_static)).problems
    assert [str(each) for each in found] == ([f"/m/shop.yaml:3:9: static: {problem}"] if problem else [])


def test_two_apps_that_claim_one_name_are_both_refused_and_name_each_other() -> None:
    catalog = reviewed({
        "blog": "path: x\ndomains: [a.example.com, B.example.com]",
        "shop": "path: x\n\ndomains: [b.example.com]",
    })  # fmt: skip
    assert refusals(catalog) == [
        "/m/blog.yaml:2:26: domains[1]: b.example.com is also claimed by 'shop' in /m/shop.yaml:3",
        "/m/shop.yaml:3:11: domains[0]: b.example.com is also claimed by 'blog' in /m/blog.yaml:2",
    ]
    assert not catalog.apps


def test_the_app_that_has_a_name_keeps_it_and_the_other_gets_it_when_it_goes() -> None:
    blog = {"blog": "path: x\ndomains: [a.example.com]"}
    both = {**blog, "shop": "path: x\ndomains: [b.example.com]\nredirects: [a.example.com]"}
    catalog = reviewed(blog, both)
    assert refusals(catalog) == [
        "/m/shop.yaml:3:13: redirects[0]: a.example.com is also claimed by 'blog' in /m/blog.yaml:2"
    ]
    assert [*catalog.apps] == ["blog"]
    later = reviewed(blog, both, {**both, "blog": "path: x"})
    assert refusals(later) == []
    assert [*later.apps] == ["blog", "shop"]


def test_what_an_app_had_stays_while_its_new_version_is_refused() -> None:
    one = {"blog": "path: x\ndomains: [a.example.com]", "shop": "path: x\ndomains: [b.example.com]"}
    catalog = reviewed(one, {**one, "shop": "path: x\ndomains: [a.example.com]"})
    assert len(refusals(catalog)) == 1
    assert catalog.apps["shop"].routing == Routing(domains=("b.example.com",))


def test_apps_share_a_name_at_different_paths_if_they_agree_on_how_it_is_served() -> None:
    site, api = "path: x\ndomains: [a.example.com]", "path: x\ndomains: [a.example.com]\nbelow: /api"
    assert refusals(reviewed({"site": site, "api": api})) == []
    found = refusals(reviewed({"site": site}, {"site": site, "api": f"{api}\ntls: internal"}))
    what = "'tls', 'http' and 'hsts' of a.example.com have to be as in 'site' in /m/site.yaml:2"
    assert found == [f"/m/api.yaml:2:11: domains[0]: {what}"]


def test_a_host_may_give_every_app_a_domain() -> None:
    host = HostDefaults(domain="{app}.localhost")
    (document,) = parse("/m/shop.yaml", b"path: x\n", host).apps
    assert document.unleased.routing == Routing(domains=("shop.localhost",))


def test_a_domain_is_no_part_of_a_revision() -> None:
    plain, named = (
        parse("/m/a.yaml", f"path: x\n{text}".encode(), HostDefaults()).apps[0].app(1)
        for text in ("", "domains: [a.example.com]\n")
    )
    assert plain != named
    assert plain.revision("c").id == named.revision("c").id


WITH_SOCKETS = Rules(
    host=HostDefaults(sockets="/s/listeners"), ports=range(20000, 20100), is_free=lambda host, port: True,
    prune_after_s=0,
)  # fmt: skip


def addresses(catalog: Catalog) -> dict[str, str]:
    return {
        name: " and ".join(map(str, app.addresses))
        + (f" was {app.leased}" if app.leased and app.leased != app.beside else "")
        for name, app in catalog.apps.items()
    }


def test_an_app_with_domains_listens_at_a_socket_and_at_a_port_beside_it_if_it_names_one_or_an_address() -> None:
    files = {
        "a": "path: x\ndomains: [a.example.com]",
        "b": "path: x\ndomains: [b.example.com]\nport: 8001",
        "c": "path: x\ndomains: [c.example.com]\nhost: 0.0.0.0",
        "d": "path: x",
        "e": "path: x\ndomains: [e.example.com]\nport: 8002\ncanary: {share: [50%]}",
    }
    catalog = reviewed(files, rules=WITH_SOCKETS)
    assert addresses(catalog) == {
        "a": "unix:/s/listeners/a.sock",
        "b": "unix:/s/listeners/b.sock and 127.0.0.1:8001",
        "c": "unix:/s/listeners/c.sock and 0.0.0.0:20000",
        "d": "127.0.0.1:20001",
        "e": "127.0.0.1:8002",
    }
    assert {name: app.port for name, app in catalog.apps.items()} == {
        "a": None, "b": 8001, "c": 20000, "d": 20001, "e": 8002,
    }  # fmt: skip
    assert set(catalog.leases) == {"c", "d"}
    assert addresses(reviewed(files))["a"] == "127.0.0.1:20000"


def test_an_app_that_had_a_port_before_keeps_its_lease_beside_the_socket_and_gets_it_back() -> None:
    without = reviewed({"a": "path: x", "b": "path: x"}, rules=WITH_SOCKETS)
    domains = Listing(origin="/m", files={"/m/a.yaml": b"path: x\ndomains: [a.example.com]"}, identity=(1, 1))
    with_domains = review(without, [domains], WITH_SOCKETS, 0)
    assert addresses(with_domains)["a"] == "unix:/s/listeners/a.sock was 127.0.0.1:20000"
    again = review(with_domains, [Listing(origin="/m", files={"/m/a.yaml": b"path: x"}, identity=(1, 1))], RULES, 0)
    assert addresses(again)["a"] == "127.0.0.1:20000"


def test_a_domain_that_only_the_host_gives_leaves_an_app_at_its_port() -> None:
    given = HostDefaults(sockets="/s/listeners", domain="{app}.localhost")
    rules = Rules(host=given, ports=range(20000, 20100), is_free=lambda host, port: True, prune_after_s=0)
    assert addresses(reviewed({"a": "path: x"}, rules=rules)) == {"a": "127.0.0.1:20000"}
