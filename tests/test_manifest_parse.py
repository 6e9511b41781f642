"""Manifests in, apps or problems with file, line, column and path out."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.desired import Address, CrashPolicy
from reconciler.manifests.document import AppDocument, HostDefaults
from reconciler.manifests.gunicorn_settings import OWNED
from reconciler.manifests.not_yet import NOT_YET
from reconciler.manifests.parse import parse
from reconciler.manifests.problem import Problem, dotted
from reconciler.manifests.schemas import schema

HOST = HostDefaults(auto_workers=5, crash=CrashPolicy(first_s=1, cap_s=60, good_run_s=60))


def problems(text: str | bytes, file: str = "/m/blog.yaml") -> list[str]:
    content = text if isinstance(text, bytes) else text.encode()
    parsed = parse(file, content, HOST)
    assert bool(parsed.problems) != bool(parsed.apps)
    return [str(problem) for problem in parsed.problems]


def app(text: str, file: str = "/m/blog.yaml") -> AppDocument:
    parsed = parse(file, text.encode(), HOST)
    assert parsed.problems == ()
    (document,) = parsed.apps
    return document


def test_a_path_is_all_a_manifest_needs() -> None:
    document = app("path: ../apps/blog\n")
    assert document.name == "blog"
    assert document.source.path == "/m/../apps/blog"
    assert document.port is None
    assert (document.server.workers, document.state, document.crash) == (1, "running", HOST.crash)
    assert document.app(8001).address == Address(host="127.0.0.1", port=8001)


@pytest.mark.parametrize("written", ["3.10", '"3.10"', "'3.10'"])
def test_a_runtime_is_kept_as_written(written: str) -> None:
    assert app(f"path: x\nruntime: {written}\n").recipe.runtime == "3.10"


@pytest.mark.parametrize(
    ("written", "value"),
    [("8080", "8080"), ("yes", "yes"), ("3.10", "3.10"), ("true", "true"), ("''", ""), ("0777", "0777"), ("1e3", "1e3")],
)
def test_environment_values_are_taken_as_written(written: str, value: str) -> None:
    assert app(f"path: x\nenv: {{X: {written}}}\n").env == {"X": value}


def test_auto_workers_durations_and_crash_delays_are_resolved() -> None:
    document = app("path: x\nworkers: auto\nstop_timeout: 1m30s\nhealth: {start_timeout: 500ms}\ncrash: {first: 2m}\n")
    assert document.server.workers == 5
    assert (document.server.stop_timeout_s, document.server.start_timeout_s) == (90.0, 0.5)
    assert document.crash == CrashPolicy(first_s=120, cap_s=120, good_run_s=60)


def test_an_unwatched_source_is_pinned_by_what_the_document_says() -> None:
    pins = [
        app(f"path: x\n{more}").source.pinned
        for more in ("", "watch: false", "watch: false # c", "watch: false\nruntime: 3.1", "watch: false\nruntime: 3.10")
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
        ("path: x\nenv:\n\tA: 1\n", "3:1: a tab is used for indentation; YAML allows only spaces there"),
        ("path: [x\n", "2:1: is not valid YAML: did not find expected ',' or ']' while parsing a flow sequence"),
        (b"path: x\nname: caf\xe9\n", "2:10: is not UTF-8, byte 0xe9 at line 2 column 10; save it as UTF-8"),
        ("path: x\x07\n", "1:8: holds the control character U+0007; remove it"),
        ('path: "x\\0"\n', "1:7: path: holds a NUL character; remove it"),
        ("a" * 10_000_000, "1:1: is 9.5 MiB; a manifest has at most 256 KiB"),
        ("path: x\nport: 1\npath: y\n", "3:1: path: duplicate field 'path', first given at line 1"),
        ("path: x\nenv: {<<: {A: b}}\n", "2:7: env.<<: merge keys are not supported; repeat the fields"),
        ("path: *x\n", "1:7: path: refers to '&x', which is not defined above"),
        ("path: x\nenv: &e {A: *e}\n", "2:13: env.A: alias '*e' refers to what contains it"),
        ("path: !!python/name:os.system x\n", "1:7: path: the tag !!python/name:os.system is not supported; "
         "write the plain value"),
        ("path: x\n? [a]\n: 1\n", "2:3: has a field whose name is not plain text"),
        ("[" * 200_000, "1:34: is nested more than 32 levels deep"),
        ("path: x\nwrokers: 2\n", "2:1: wrokers: unknown field 'wrokers'; did you mean 'workers'?"),
        ("path: x\nzzz: 2\n", "2:1: zzz: unknown field 'zzz'"),
        ("name: blog\n", "1:1: path: is required and missing"),
        ("path: ~/x\n", "1:7: path: expected a path, relative to this file or absolute ('~' is not expanded), not '~/x'"),
        ("path:\n", "1:6: path: expected a path, relative to this file or absolute ('~' is not expanded), not nothing"),
        ("path: x\nname: My_App\n", "2:7: name: expected at most 63 lower-case letters, digits and inner hyphens, "
         "not 'My_App'; for example 'my-app'"),
        ("path: x\nname: 12\n", "2:7: name: expected a name of at most 63 lower-case letters, digits and inner hyphens, "
         "not 12; put it in quotes to make it text"),
        ("path: x\nname: |\n  blog\n", "2:7: name: expected at most 63 lower-case letters, digits and inner hyphens, "
         "not 'blog\\n'; for example 'blog'"),
        ("path: x\nport: 0\n", "2:7: port: expected a port between 1 and 65535, not 0"),
        ("path: x\nport: 65536\n", "2:7: port: expected a port between 1 and 65535, not 65536"),
        ("path: x\nhost: example.com\n", "2:7: host: expected an IP address or localhost, not 'example.com'"),
        ("path: x\nwatch: no\n", "2:8: watch: expected true or false, not 'no' "
         "(of these words YAML 1.2 knows only true and false)"),
        ("path: x\nruntime: [3.10]\n", "2:10: runtime: expected a Python such as python3.12, 3.12.1 or /usr/bin/python3, "
         "not a list"),
        ("path: x\nstop_timeout: 10x\n", "2:15: stop_timeout: expected a duration such as 10s, 1m30s or 500ms, not '10x'"),
        ("path: x\nstop_timeout: 0s\n", "2:15: stop_timeout: must be longer than nothing"),
        ("path: x\ncrash: {first: 2m, cap: 1m}\n", "2:16: crash.first: is longer than 'cap'"),
        ("path: x\nenv: {VCAP_X: 1}\n", "2:15: env.VCAP_X: names that start with VCAP_ are set by the daemon"),
        ("path: x\nenv: {LISTEN_FDS: 1}\n", "2:19: env.LISTEN_FDS: cannot be set here: "
         "the daemon hands over the listening socket with it"),
        ("path: x\nenv: {1A: 1}\n", "2:7: env.1A: expected the name of an environment variable: letters, digits and '_', "
         "not '1A'"),
        ("path: x\nenv: {A: }\n", "2:10: env.A: expected text, a number, true or false, or {file: PATH}; "
         "write '' for an empty value, not nothing"),
        ("path: x\ngunicorn: {bind: x}\n", "2:12: gunicorn.bind: cannot be set here: "
         "the daemon opens the listening socket; use the fields 'host' and 'port'"),
        ("path: x\ngunicorn: {timeout: {a: 1}}\n", "2:21: gunicorn.timeout: expected text, a number, true or false, "
         "or a list of those, not a mapping"),
        ("path: x\ndependencies: ../r.txt\n", "2:15: dependencies: expected a file inside the app's directory, "
         "such as requirements.txt, not '../r.txt'"),
        ("path: x\nkind: web\n", "2:7: kind: expected app or service, not 'web'"),
    ],
)  # fmt: skip
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
        "/m/blog.yaml:4:10: workers: expected a number of workers between 1 and 1000, or auto, not 'many'",
        "/m/blog.yaml:6:1: path: is required and missing",
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
    started = time.monotonic()
    assert problems("\n".join(lines)) == [
        "/m/blog.yaml:6:40: f: is larger than 1 MiB with its aliases expanded",
    ]
    assert time.monotonic() - started < 1


def test_thousands_of_mistakes_are_told_in_bounded_time_and_space() -> None:
    started = time.monotonic()
    found = problems("\n".join(f"k{i}: 1" for i in range(25_000)))
    assert len(found) == 101
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("release: make", "release"),
        ("health: {path: /x}", "health.path"),
        ("probation: 1s", "probation"),
        ("idle_after: 1m", "idle_after"),
        ("start: lazy", "start"),
        ("depends_on: [a]", "depends_on"),
        ("patience: 5s", "patience"),
        ("holding_page: x.html", "holding_page"),
        ("services: [db]", "services"),
        ("state: maintenance", "state"),
        ("env: {X: {file: y}}", "env.X"),
    ],
)
def test_what_does_not_work_yet_is_refused_at_its_line(text: str, path: str) -> None:
    if not any(dotted(pattern) in (path, "env.*") for pattern in NOT_YET):
        pytest.skip("works by now")
    (problem,) = problems(f"path: x\n{text}\n")
    assert problem.startswith("/m/blog.yaml:2:")
    assert f" {path}: " in problem
    assert problem.endswith("is not supported yet")


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
    assert bool(parsed.problems) != bool(parsed.apps)
    for problem in parsed.problems:
        assert problem.line >= 1
        assert problem.column >= 1


@given(st.dictionaries(st.sampled_from(sorted(schema("app")["properties"])), st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)))  # fmt: skip
def test_no_values_at_all_make_parsing_fail(document: dict[str, object]) -> None:
    parsed = parse("/m/blog.yaml", json.dumps(document).encode(), HOST)
    assert bool(parsed.problems) != bool(parsed.apps)
