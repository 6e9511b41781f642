"""Manifests in, apps or problems with file, line, column and path out."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.documents.problem import Problem, dotted
from reconciler.documents.schemas import schema
from reconciler.manifests.app_document import HostDefaults
from reconciler.manifests.parse_file import parse
from reconciler.planning.address import Address
from reconciler.planning.apps.app import App, CrashPolicy, Liveness
from reconciler.planning.apps.owned_settings import OWNED
from reconciler.planning.apps.revision import Health, Source

HOST = HostDefaults(auto_workers=5, crash=CrashPolicy(first_s=1, cap_s=60, good_run_s=60))


HEALTH = "failures, host, interval, path, start_timeout, timeout"


def problems(text: str | bytes, file: str = "/m/blog.yaml") -> list[str]:
    content = text if isinstance(text, bytes) else text.encode()
    parsed = parse(file, content, HOST)
    assert bool(parsed.problems) != bool(parsed.apps or parsed.services)
    return [str(problem) for problem in parsed.problems]


def app(text: str, file: str = "/m/blog.yaml") -> App:
    parsed = parse(file, text.encode(), HOST)
    assert parsed.problems == ()
    (document,) = parsed.apps
    return document.unleased


def test_a_path_is_all_a_manifest_needs() -> None:
    (document,) = parse("/m/blog.yaml", b"path: ../apps/blog\n", HOST).apps
    assert (document.name, document.manifest, document.host, document.port) == (
        "blog",
        "/m/blog.yaml",
        "127.0.0.1",
        None,
    )
    leased = document.app(8001)
    assert leased.source.path == "/m/../apps/blog"
    assert (leased.server.workers, leased.state, leased.crash) == (1, "running", HOST.crash)
    assert leased.address == Address(host="127.0.0.1", port=8001)


NUMBERS = (
    ("port: 8e3", "port: 8000"),
    ("workers: 1e1", "workers: 10"),
    ("workers: {min: 1.0, max: 4.0}", "workers: {min: 1, max: 4}"),
    ("threads: 2.0", "threads: 2"),
    ("gunicorn: {max_requests: 1e3}", "gunicorn: {max_requests: 1000}"),
    ("patience: 1e1", "patience: 10"),
    ("health: {path: /, failures: 3.0, timeout: .5}", "health: {path: /, failures: 3, timeout: 500ms}"),
    ("limits: {memory: 1e9, processes: 1e2, files: 1e3}", "limits: {memory: 1000000000, processes: 100, files: 1000}"),
    ("processes: {w: {command: x, count: 2.0}}", "processes: {w: {command: x, count: 2}}"),
    ("schedules: {s: {command: x, every: 1h, keep: 2e1}}", "schedules: {s: {command: x, every: 1h, keep: 20}}"),
)


@pytest.mark.parametrize(("written", "plain"), NUMBERS)
def test_a_number_is_what_yaml_takes_for_one_in_every_field(written: str, plain: str) -> None:
    assert str(app(f"path: x\n{written}\n")) == str(app(f"path: x\n{plain}\n"))


@pytest.mark.parametrize("written", ["3.10", '"3.10"', "'3.10'"])
def test_a_runtime_is_kept_as_written(written: str) -> None:
    assert app(f"path: x\nruntime: {written}\n").recipe.runtime == "3.10"


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("8080", "8080"),
        ("yes", "yes"),
        ("3.10", "3.10"),
        ("true", "true"),
        ("''", ""),
        ("0777", "0777"),
        ("1e3", "1e3"),
    ],
)
def test_environment_values_are_taken_as_written(written: str, value: str) -> None:
    assert app(f"path: x\nenv: {{X: {written}}}\n").env == {"X": value}


@pytest.mark.parametrize(
    ("fields", "workers"),
    [
        ("env: {WEB_CONCURRENCY: 3}", 3),
        ("env: {WEB_CONCURRENCY: '3'}\nworkers: 2", 2),
        ("env: {WEB_CONCURRENCY: 3}\nworkers: auto", 5),
        ("env: {WEB_CONCURRENCY: {file: x}}", 1),
    ],
)
def test_where_workers_are_left_out_the_variable_that_gunicorn_reads_says_how_many(fields: str, workers: int) -> None:
    assert app(f"path: x\n{fields}\n").workers == workers


def test_auto_workers_durations_and_crash_delays_are_resolved() -> None:
    document = app("path: x\nworkers: auto\nstop_timeout: 1m30s\nhealth: {start_timeout: 500ms}\ncrash: {first: 2m}\n")
    assert document.server.workers == 5
    assert (document.server.stop_timeout_s, document.server.start_timeout_s) == (90.0, 0.5)
    assert document.crash == CrashPolicy(first_s=120, cap_s=120, good_run_s=60)


def test_a_manifest_that_says_nothing_of_serving_asks_for_the_defaults() -> None:
    asked = app("path: x")
    silent = App(name="blog", manifest="/m/blog.yaml", source=Source(path="/m/x"), address=asked.address)
    assert asked == silent


def test_health_says_what_is_asked_how_often_and_for_how_long() -> None:
    document = app(
        "path: x\nhealth: {path: /healthz?deep=1, host: 'blog.example.com:8000', interval: 30s, timeout: 1s, "
        "failures: 5, start_timeout: 2m}\n"
    )
    assert document.server.health == Health(path="/healthz?deep=1", host="blog.example.com:8000", timeout_s=1)
    assert document.server.start_timeout_s == 120
    assert document.liveness == Liveness(interval_s=30, failures=5)
    assert app("path: x\nhealth: {path: /}").server.health == Health(path="/", host=None, timeout_s=2)


@pytest.mark.parametrize(
    ("written", "timeout_s", "start_timeout_s"),
    [
        ("start_timeout: 1s", 1, 1),
        ("timeout: 2m", 120, 120),
        ("timeout: 5s", 5, 60),
        ("timeout: 9s, start_timeout: 9s", 9, 9),
    ],
)
def test_a_check_never_takes_longer_than_a_start_may(written: str, timeout_s: float, start_timeout_s: float) -> None:
    server = app(f"path: x\nhealth: {{path: /, {written}}}").server
    assert server.health == Health(path="/", timeout_s=timeout_s)
    assert server.start_timeout_s == start_timeout_s


@pytest.mark.parametrize(
    ("written", "field", "value"),
    [
        ("probation: 1m", "probation_s", 60.0),
        ("probation: 0", "probation_s", 0.0),
        ("idle_after: 15m", "idle_after_s", 900.0),
        ("start: lazy", "lazy", True),
        ("start: eager", "lazy", False),
        ("depends_on: [worker, api]", "depends_on", ("worker", "api")),
        ("depends_on: []", "depends_on", ()),
        ("patience: 500ms", "patience_s", 0.5),
        ("holding_page: static/503.html", "holding_page", "/m/static/503.html"),
        ("holding_page: /srv/503.html", "holding_page", "/srv/503.html"),
        ("state: maintenance", "state", "maintenance"),
    ],
)
def test_each_field_of_serving_reaches_the_app(written: str, field: str, value: object) -> None:
    assert getattr(app(f"path: x\n{written}\n"), field) == value


def test_an_app_with_a_certificate_of_its_own_is_found_at_https() -> None:
    address = Address(host="127.0.0.1", port=8000)
    assert replace(app("path: x"), address=address).url == "http://127.0.0.1:8000/"
    with_certificate = app("path: x\ngunicorn: {certfile: cert.pem}")
    assert replace(with_certificate, address=address).url == "https://127.0.0.1:8000/"


def test_only_an_app_that_may_sleep_counts_its_requests() -> None:
    assert not app("path: x\nstart: lazy").server.counts
    assert app("path: x\nidle_after: 1m").server.counts


@pytest.mark.parametrize(
    ("written", "logs"),
    [("", True), ("access_log: true", True), ("access_log: false", False), ("access_log: all", "all")],
)
def test_the_access_log_may_be_turned_off(written: str, logs: bool | str) -> None:
    assert app(f"path: x\n{written}\n").server.access_log == logs


@pytest.mark.parametrize("host", ["blog", "blog.example.com", "127.0.0.1", "localhost:8000", "Blog_1.example.com:80"])
def test_a_health_host_is_a_host_name_with_or_without_a_port(host: str) -> None:
    health = app(f"path: x\nhealth: {{path: /, host: '{host}'}}").server.health
    assert health is not None
    assert health.host == host


@pytest.mark.parametrize(
    "host", ["", "a b", "http://blog", "blog/x", ".blog", "blog:", "blog:0", "blog:x", "blöd", "a\nb"]
)
def test_what_is_no_health_host_is_refused(host: str) -> None:
    (problem,) = problems(json.dumps({"path": "x", "health": {"path": "/", "host": host}}))
    assert (
        f" health.host: expected a host name, such as blog.example.com, with or without a port, not {host!r}" in problem
    )


@pytest.mark.parametrize("path", ["", "healthz", "/a b", "/a\nX: y", "/a\tb", "/caf\xe9", "/a#b", "/\x7f", "http://x/"])
def test_what_is_no_health_path_is_refused(path: str) -> None:
    found = problems(json.dumps({"path": "x", "health": {"path": path}}))
    expected = "expected a URL path of plain characters without spaces that starts with /, such as /healthz"
    assert [problem.partition(" health.path: ")[2] for problem in found] == [f"{expected}, not {path!r}"]


def test_a_misspelt_health_path_is_told_once() -> None:
    assert problems("path: x\nhealth: {pth: /, interval: 5s}\n") == [
        "/m/blog.yaml:2:10: health.pth: unknown field 'pth'; did you mean 'path'?"
    ]


def test_a_problem_is_one_line_whatever_a_field_is_called() -> None:
    unknown, duplicate = problems('path: x\n"a\\e\\n": 1\n"a\\e\\n": 1\n')
    assert (unknown + duplicate).isprintable()
    assert unknown.startswith(r"/m/blog.yaml:2:1: a\x1b\n: unknown field")
    assert duplicate == r"/m/blog.yaml:3:1: a\x1b\n: duplicate field 'a\x1b\n', first given at line 2"


def test_an_app_without_a_name_of_its_own_does_not_depend_on_itself_either() -> None:
    expected = "depends_on[1]: an app cannot depend on itself"
    assert problems("path: x\ndepends_on:\n  - api\n  - blog\n") == [f"/m/blog.yaml:4:5: {expected}"]
    assert problems("name: api\npath: x\ndepends_on: [blog, api]\n") == [f"/m/blog.yaml:3:20: {expected}"]


def test_an_unwatched_source_is_pinned_by_what_the_document_says() -> None:
    pins = [
        app(f"path: x\n{more}").source.pinned
        for more in (
            "",
            "watch: false",
            "watch: false # c",
            "watch: false\nruntime: 3.1",
            "watch: false\nruntime: 3.10",
        )
    ]
    assert pins[0] == ""
    assert pins[1] == pins[2]
    assert len(set(pins)) == 4


def test_a_file_may_hold_several_apps() -> None:
    parsed = parse("/m/all.yaml", b"---\nname: a\npath: x\n---\n# nothing\n---\nname: b\npath: y\n", HOST)
    assert [(document.name, document.line) for document in parsed.apps] == [("a", 2), ("b", 7)]


def test_a_byte_order_mark_is_no_part_of_the_text() -> None:
    assert parse("/m/blog.yaml", b"\xef\xbb\xbfpath: x\n", HOST).problems == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "1:1: is empty; delete the file to remove the app"),
        (" \n\n", "1:1: is empty; delete the file to remove the app"),
        ("# all gone\n", "1:1: holds only comments; delete the file to remove the app"),
        ("- a\n", "1:1: expected fields such as 'path: ../apps/blog', not a list"),
        ("path: x\nenv:\n\tA: 1\n", "3:1: is indented with a tab; YAML allows only spaces"),
        (
            "path: [x\n",
            (
                "2:1: is not valid YAML: did not find expected ',' or ']' while parsing a flow sequence;"
                " line 1 is `path: [x`"
            ),
        ),
        (
            "path: x\nport 8000\nname: y\n",
            "2:1: is not valid YAML: could not find expected ':' while scanning a simple key; line 2 is `port 8000`",
        ),
        (
            "path: x\nenv:\n  TOKEN: a: hunter2\n",
            "3:10: quote the value of 'TOKEN', as it contains ': '",
        ),
        (
            "path: {env: {TOKEN: hunter2}\n",
            (
                "2:1: is not valid YAML: did not find expected ',' or '}' while parsing a flow mapping;"
                " line 1 is `path: …`"
            ),
        ),
        (
            "env:\n  KEY: |\n    MII\n  hunter2\nport: 1\n",
            "4:3: is not valid YAML: could not find expected ':' while scanning a simple key",
        ),
        (b"path: x\nname: caf\xe9\n", "2:10: is not UTF-8, byte 0xe9 at line 2 column 10; save it as UTF-8"),
        ("path: x\x07\n", "1:8: contains the control character U+0007; remove it"),
        ('path: "x\\0"\n', "1:7: path: contains a NUL character; remove it"),
        ("a" * 10_000_000, "1:1: is 9.5 MiB; the limit is 256 KiB"),
        ("path: x\nport: 1\npath: y\n", "3:1: path: duplicate field 'path', first given at line 1"),
        ("path: x\nenv: {<<: {A: b}}\n", "2:7: env.<<: merge keys are not supported; repeat the fields"),
        (
            "env: {PASSWORD: *hunter2}\n",
            "1:17: env.PASSWORD: refers to an anchor that is not defined above; quote text that begins with '*'",
        ),
        (
            "path: x\nenv: {PASSWORD: !hunter2 x}\n",
            "2:17: env.PASSWORD: has a tag, which is not supported; quote text that begins with '!'",
        ),
        (
            "path: x\nenv: PASSWORD=hunter2\n",
            "2:6: env: expected names with values, such as {LOG_LEVEL: info}, not this text",
        ),
        (
            "path: x\nenv: {PASSWORD=hunter2: x}\n",
            (
                "2:7: env.PASSWORD=…: expected the name of an environment variable: letters, digits and '_',"
                " not NAME=value"
            ),
        ),
        ("path: *x\n", "1:7: path: refers to the anchor '&x', which is not defined above"),
        ("path: x\nenv: &e {A: *e}\n", "2:13: env.A: alias '*e' refers to a value that contains it"),
        (
            "path: !!python/name:os.system x\n",
            ("1:7: path: the tag !!python/name:os.system is not supported; write the plain value"),
        ),
        ("path: x\n? [a]\n: 1\n", "2:3: has a field name that is not plain text"),
        ("[" * 200_000, "1:34: is nested more than 32 levels deep"),
        (
            "\n---\n".join(f"name: shop-{number}" for number in range(1001)),
            "1:1: holds 1001 documents; the limit is 1000: divide them among several files",
        ),
        (
            "path: x\nentrypoint: shop:Shop([)\n",
            (
                "2:13: entrypoint: expected module:callable, module:factory(arguments) or"
                " module:Class(arguments).method(), such as wsgi:application, not 'shop:Shop([)'"
            ),
        ),
        ("path: x\nwrokers: 2\n", "2:1: wrokers: unknown field 'wrokers'; did you mean 'workers'?"),
        ("health: {zzz: 2}\npath: x\n", f"1:10: health.zzz: unknown field 'zzz'; the fields here are {HEALTH}"),
        ("path: x\nenviroment: {}\n", "2:1: enviroment: unknown field 'enviroment'; did you mean 'env'?"),
        ("path: x\ncmd: x\n", "2:1: cmd: unknown field 'cmd'; did you mean 'command' or 'entrypoint' or 'release'?"),
        ("directory: x\n", "1:1: directory: unknown field 'directory'; did you mean 'path'?"),
        ("path: x\nport: '81'\n", "2:7: port: expected a port between 1 and 65535, not '81'; remove the quotes"),
        ("path: x\nwatch: 'true'\n", "2:8: watch: expected true or false, not 'true'; remove the quotes"),
        (
            "path: x\nenv:\n  A:\n    B: 1\n",
            "4:5: env.A: expected text, a number, true or false, or {file: PATH}, not a mapping of other names",
        ),
        ("path: x\nenv:\n  A: 1\n   C: 2\n", "4:4: 'C:' is indented by 3 spaces, its neighbours by 2"),
        ("path: x\nenv:\n  A: 1\n C: 2\n", "4:2: 'C:' is indented by 1 space, its neighbours by 2"),
        (" path: x\nname: y\n", "2:1: 'name:' is indented by 0 spaces, its neighbours by 1"),
        ("name: x\npath: y\nworkers:2\n", "3:1: 'workers:2' needs a space after the colon"),
        ("workers:2\npath: y\n", "1:1: 'workers:2' needs a space after the colon"),
        ("path: x\nenv:\n  KEY:hunter2\n  B: 1\n", "3:3: 'KEY:…' needs a space after the colon"),
        ("name: blog\n", "1:1: path: is required, or 'source' in its place"),
        (
            "path: ~/x\n",
            "1:7: path: expected a path, relative to this file or absolute ('~' is not expanded), not '~/x'",
        ),
        (
            "path:\n",
            "1:6: path: expected a path, relative to this file or absolute ('~' is not expanded), not an empty value",
        ),
        (
            "path: x\nname: My_App\n",
            (
                "2:7: name: expected at most 63 lower-case letters, digits and inner hyphens, "
                "not 'My_App'; for example 'my-app'"
            ),
        ),
        (
            "path: x\nname: 12\n",
            (
                "2:7: name: expected a name of at most 63 lower-case letters, digits and inner hyphens, "
                "not 12; quote it to make it text"
            ),
        ),
        (
            "path: x\nname: |\n  blog\n",
            (
                "2:7: name: expected at most 63 lower-case letters, digits and inner hyphens, "
                "not 'blog\\n'; for example 'blog'"
            ),
        ),
        ("path: x\nport: 0\n", "2:7: port: expected a port between 1 and 65535, not 0"),
        ("path: x\nport: 65536\n", "2:7: port: expected a port between 1 and 65535, not 65536"),
        ("path: x\nhost: example.com\n", "2:7: host: expected an IP address or localhost, not 'example.com'"),
        (
            "path: x\nwatch: no\n",
            ("2:8: watch: expected true or false, not 'no' (YAML 1.2 has only true and false)"),
        ),
        (
            "path: x\nruntime: [3.10]\n",
            ("2:10: runtime: expected a Python such as python3.12, 3.12.1 or /usr/bin/python3, not a list"),
        ),
        (
            "path: x\nstop_timeout: 10x\n",
            "2:15: stop_timeout: expected a duration such as 10s, 1m30s or 500ms, not '10x'",
        ),
        ("path: x\nstop_timeout: 0s\n", "2:15: stop_timeout: must be positive"),
        ("path: x\ncrash: {first: 2m, cap: 1m}\n", "2:16: crash.first: is longer than 'cap'"),
        (
            "path: x\nenv:\n" + "".join(f"  A{n}: x\n" for n in range(2001)),
            "3:3: env: expected at most 2000 variables, not 2001",
        ),
        ("path: x\nhealth: {interval: 5s}\n", "2:20: health.interval: requires health.path"),
        ("path: x\nhealth: {failures: 5}\n", "2:20: health.failures: requires health.path"),
        ("path: x\nhealth: {timeout: 5s}\n", "2:19: health.timeout: requires health.path"),
        ("path: x\nhealth: {host: blog}\n", "2:16: health.host: requires health.path"),
        ("path: x\nhealth: {path: /, interval: 0}\n", "2:29: health.interval: must be positive"),
        ("path: x\nhealth: {path: /, interval: 900ms}\n", "2:29: health.interval: must be at least 1s"),
        ("path: x\nhealth: {path: /, timeout: 0s}\n", "2:28: health.timeout: must be positive"),
        (
            "path: x\nhealth: {path: /, timeout: 3s, start_timeout: 2s}\n",
            "2:28: health.timeout: is longer than 'start_timeout'",
        ),
        (
            "path: x\nhealth: {path: /, failures: 0}\n",
            "2:29: health.failures: expected a number of probes between 1 and 1000, not 0",
        ),
        ("path: x\nidle_after: 0\n", "2:13: idle_after: must be positive"),
        ("path: x\npatience: 0s\n", "2:11: patience: must be positive"),
        ("path: x\nprobation: 367d\n", "2:12: probation: a duration must be between 0 and 366 days, not 367d"),
        ("path: x\nstart: later\n", "2:8: start: expected eager or lazy, not 'later'"),
        ("path: x\nstate: asleep\n", "2:8: state: expected running, stopped or maintenance, not 'asleep'"),
        (
            "path: x\ndepends_on: [a, b, a]\n",
            "2:20: depends_on[2]: 'a' is listed twice",
        ),
        (
            "path: x\ndepends_on: []\nservices: {}\n",
            "3:11: services: expected a list of different services, such as [blog-db, cache], not an empty mapping",
        ),
        ("path: x\ndepends_on: api\n", "2:13: depends_on: expected a list of different apps, such as [api], not 'api'"),
        (
            "path: x\ndepends_on: [A]\n",
            (
                "2:14: depends_on[0]: expected an app's name: "
                "at most 63 lower-case letters, digits and inner hyphens, not 'A'"
            ),
        ),
        (
            "path: x\naccess_log: off\n",
            "2:13: access_log: expected true, false or all, not 'off'",
        ),
        (
            "path: x\nholding_page: ~/x\n",
            "2:15: holding_page: expected a path, relative to this file or absolute ('~' is not expanded), not '~/x'",
        ),
        (
            "path: x\ngunicorn: {accesslog: x}\n",
            "2:12: gunicorn.accesslog: cannot be set here: the daemon keeps the logs; use the field 'access_log'",
        ),
        *(
            (
                f"path: x\nenv: {{WEB_CONCURRENCY: {written}}}\n",
                (
                    "2:24: env.WEB_CONCURRENCY: expected a number of workers between 1 and 1000: gunicorn reads this"
                    " variable"
                ),
            )
            for written in ("many", "''", "0", "-2", "1001", "2.5")
        ),
        ("path: x\nenv: {VCAP_X: 1}\n", "2:15: env.VCAP_X: names that start with VCAP_ are set by the daemon"),
        (
            "path: x\nenv: {LISTEN_FDS: 1}\n",
            ("2:19: env.LISTEN_FDS: cannot be set here: the daemon hands over the listening socket with it"),
        ),
        (
            "path: x\nenv: {1A: 1}\n",
            ("2:7: env.1A: expected the name of an environment variable: letters, digits and '_', not '1A'"),
        ),
        (
            "path: x\nenv: {A: }\n",
            (
                "2:10: env.A: expected text, a number, true or false, or {file: PATH}; "
                "write '' for an empty value, not an empty value"
            ),
        ),
        (
            "path: x\ngunicorn: {bind: x}\n",
            (
                "2:12: gunicorn.bind: cannot be set here: "
                "the daemon opens the listening socket; use the fields 'host' and 'port'"
            ),
        ),
        (
            "path: x\ngunicorn: {timeout: {a: 1}}\n",
            ("2:21: gunicorn.timeout: expected text, a number, true or false, or a list of those, not a mapping"),
        ),
        (
            "path: x\ndependencies: ../r.txt\n",
            (
                "2:15: dependencies: expected a file inside the app's directory, such as requirements.txt, "
                "or {file: uv.lock, extras: [postgres]}, not '../r.txt'"
            ),
        ),
        ("path: x\nkind: web\n", "2:7: kind: expected app or service, not 'web'"),
    ],
)
def test_each_mistake_has_its_place_and_its_words(text: str | bytes, expected: str) -> None:
    assert problems(text) == [f"/m/blog.yaml:{expected}"]


def test_a_file_whose_name_makes_no_app_name_says_what_to_write() -> None:
    (problem,) = problems("path: x\n", "/m/My App.yaml")
    assert problem.endswith("; add 'name'; for example 'my-app'")


def test_documents_of_one_file_need_names() -> None:
    assert problems("path: x\n---\nname: b\npath: y\n") == [
        "/m/blog.yaml:1:1: name: is required in a file of several documents"
    ]


def test_every_problem_is_told_at_once() -> None:
    assert problems("nmae: blog\nruntme: 3.12\npth: x\nworkers: many\n---\nname: b\nprot: 1\n") == [
        "/m/blog.yaml:1:1: nmae: unknown field 'nmae'; did you mean 'name'?",
        "/m/blog.yaml:1:1: name: is required in a file of several documents",
        "/m/blog.yaml:2:1: runtme: unknown field 'runtme'; did you mean 'runtime'?",
        "/m/blog.yaml:3:1: pth: unknown field 'pth'; did you mean 'path'?",
        "/m/blog.yaml:4:10: workers: expected a number of workers between 1 and 1000, auto, or a range, not 'many'",
        "/m/blog.yaml:6:1: path: is required, or 'source' in its place",
        "/m/blog.yaml:7:1: prot: unknown field 'prot'; did you mean 'port'?",
    ]


@pytest.mark.parametrize("name", sorted(set(schema("app")["properties"]) - {"path"}))
def test_every_misspelt_field_is_refused_with_the_right_one(name: str) -> None:
    misspelt = name[:-1] + "_" + name[-1]
    (problem,) = problems(f"path: x\n{misspelt}: 1\n")
    assert problem == f"/m/blog.yaml:2:1: {misspelt}: unknown field '{misspelt}'; did you mean '{name}'?"


def test_a_billion_laughs_are_refused_without_laughing() -> None:
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    lines += [f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join(['*' + chr(97 + i)] * 9)}]" for i in range(9)]
    assert problems("\n".join(lines)) == [
        "/m/blog.yaml:6:40: f: is larger than 1 MiB with its aliases expanded",
    ]


def test_thousands_of_mistakes_are_told_in_bounded_space() -> None:
    found = problems("\n".join(f"k{i}: 1" for i in range(25_000)))
    assert len(found) == 101


@pytest.mark.parametrize("text", ["services: []", "start: eager", "state: stopped", "kind: app", "health: {}"])
def test_what_asks_for_nothing_new_is_accepted(text: str) -> None:
    assert problems(f"path: x\n{text}\n") == []


@pytest.mark.parametrize("name", sorted(OWNED))
def test_settings_the_daemon_owns_are_refused(name: str) -> None:
    (problem,) = problems(f"path: x\ngunicorn: {{{name}: 1}}\n")
    assert f" gunicorn.{name}: cannot be set here: " in problem


def test_problems_print_the_way_compilers_do() -> None:
    assert str(Problem(file="a", line=1, column=2, path="", message="b")) == "a:1:2: b"
    assert dotted(("a", 0, "b")) == "a[0].b"


@given(st.binary(max_size=300) | st.text(alphabet="path: x-[]{}&*!|>'\"\n\t#%@,?0.a", max_size=80).map(str.encode))
def test_no_bytes_at_all_make_parsing_fail(content: bytes) -> None:
    parsed = parse("/m/blog.yaml", content, HOST)
    assert bool(parsed.problems) != bool(parsed.apps or parsed.services)
    for problem in parsed.problems:
        assert problem.line >= 1
        assert problem.column >= 1


@given(st.dictionaries(st.sampled_from(sorted(schema("app")["properties"])), st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)))  # fmt: skip
def test_no_values_at_all_make_parsing_fail(document: dict[str, object]) -> None:
    parsed = parse("/m/blog.yaml", json.dumps(document).encode(), HOST)
    assert bool(parsed.problems) != bool(parsed.apps or parsed.services)


def test_paths_to_persist_lie_inside_the_source() -> None:
    assert app("path: x\npersist: [db.sqlite3, media/, a/b]\n").recipe.persist == ("db.sqlite3", "media/", "a/b")
    for path in ("/data", "~/data", "..", "../data", "a/../b", ".", "./a", "a//b", ""):
        (problem,) = problems(f"path: x\npersist: ['{path}']\n")
        assert "expected a path inside the app's directory" in problem, path


@pytest.mark.parametrize("paths", ["media, media/logos", "media/logos, media", "media, media/"])
def test_paths_to_persist_do_not_overlap(paths: str) -> None:
    (problem,) = problems(f"path: x\npersist: [{paths}]\n")
    assert problem.startswith("/m/blog.yaml:2:")
    assert "overlaps 'media" in problem
