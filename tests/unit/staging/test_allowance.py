"""Sources that would keep a look at them going for minutes: each ends at its bound, and as soon as it is not wanted."""

import ast
import asyncio
import sys
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.planning.apps.revision import Recipe
from reconciler.staging.concurrency import in_thread, look_in_thread
from reconciler.staging.detection.dependencies import DependencyOptions, dependencies
from reconciler.staging.detection.pyproject import pyproject
from reconciler.staging.detection.runtimes import Runtime
from reconciler.staging.detection.selection import select
from reconciler.staging.detection.syntax import NotParsed, parsed
from reconciler.staging.detection.toml import parse_toml
from reconciler.staging.errors import SourceError, StagingError
from reconciler.staging.source.allowance import Allowance, allowing, run_child
from reconciler.staging.source.archive import check
from reconciler.staging.source.snapshot import fingerprint

HOST = (Runtime(name="python3.11", description="CPython 3.11", version="3.11.7", path="/usr/bin/python3.11"),)
_LARGE = "x = 1\n" * 20_000  # parsed in a child


def chosen(code: Path) -> Callable[[], object]:
    return lambda: select(code, Recipe(), HOST)


def test_a_thousand_names_of_a_large_file_are_too_much_to_read(tmp_path: Path) -> None:
    code = tmp_path / "code"
    code.mkdir()
    (code / "requirements.txt").write_text("".join(f"-r r{number}.txt\n" for number in range(40)))
    for number in range(40):
        (code / f"r{number}.txt").write_bytes(b"#" * (3 << 20))
    with pytest.raises(StagingError, match=r"more than 64 MiB of files would have to be read, r\d+.txt"):
        asyncio.run(look_in_thread(chosen(code)))


def test_large_modules_under_many_names_are_not_all_parsed(tmp_path: Path) -> None:
    (tmp_path / "big.py").write_text("x = (1\n" * (1 << 19))  # no Python, which a child finds out at once
    for number in range(40):
        (tmp_path / f"p{number}").mkdir()
        (tmp_path / f"p{number}/__init__.py").symlink_to("../big.py")
    with pytest.raises(StagingError, match=r"more than 8 MiB of large Python files would be parsed, \S+ among them"):
        asyncio.run(look_in_thread(chosen(tmp_path)))


def test_hundreds_of_modules_that_import_one_another_are_not_all_parsed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(120):
        text = "app = create_app()\n" * 3_000 + f"from m{(number + 1) % 120} import *\n"
        (tmp_path / f"m{number}.py").write_text(text)
    taken: list[int] = []

    def counted(source: bytes) -> ast.Module:
        taken.append(len(source))
        return ast.Module(body=[], type_ignores=[])

    monkeypatch.setattr("reconciler.staging.detection.syntax.ast.parse", counted)
    with pytest.raises(StagingError, match="cannot find the entry point"):
        asyncio.run(look_in_thread(chosen(tmp_path)))
    assert 1 << 19 < sum(taken) <= 1 << 20


def test_a_look_that_takes_too_long_names_what_it_was_reading(tmp_path: Path) -> None:
    (tmp_path / "wsgi.py").write_text("")
    (tmp_path / "requirements.txt").write_text("flask\n")
    with pytest.raises(
        StagingError, match=r"longer than -1 s \(staging.timeout of .*; requirements.txt was being read"
    ):
        asyncio.run(look_in_thread(chosen(tmp_path), -1))


def test_the_time_that_is_over_is_no_file_that_is_missing(tmp_path: Path) -> None:
    (tmp_path / "package.json").write_text("{}")
    looks = iter([True] * 3)
    with pytest.raises(InterruptedError), allowing(Allowance(should_continue=lambda: next(looks, False))):
        select(tmp_path, Recipe(entrypoint="wsgi:app"), HOST)


@pytest.mark.parametrize("name", ["requirements.txt", "pyproject.toml", "wsgi.py", "vendor/a-1.tar.gz"])
def test_a_cancelled_look_reads_no_further_file(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("")
    asked = []

    def should_continue() -> bool:
        asked.append(name)
        return len(asked) < 2

    with pytest.raises(InterruptedError), allowing(Allowance(should_continue=should_continue)):
        select(tmp_path, Recipe(), HOST)
    assert len(asked) == 2


def test_a_child_that_reads_a_source_is_killed_when_it_is_not_wanted_any_more() -> None:
    asked = []

    def should_continue() -> bool:
        asked.append(1)
        return len(asked) < 3

    sleeping = (sys.executable, "-c", "import time; time.sleep(3600)")
    with pytest.raises(InterruptedError), allowing(Allowance(should_continue=should_continue)):
        run_child(sleeping, "wsgi.py", 3600, 1 << 30)


def test_a_child_gets_all_its_input_however_late_it_reads_it() -> None:
    late = (sys.executable, "-c", "import sys, time; time.sleep(0.3); print(len(sys.stdin.buffer.read()))")
    assert run_child(late, "wsgi.py", 60, 1 << 30, input=b"x" * (3 << 20)) == (0, b"3145728\n")


def test_a_child_that_reads_a_source_has_no_more_memory_than_it_is_given() -> None:
    swelling = (sys.executable, "-c", "import sys; sys.stdin.read(); bytearray(1 << 30)")
    status, _ = run_child(swelling, "wsgi.py", 60, 512 << 20, input=b"")
    assert status != 0


def test_a_large_file_is_parsed_in_a_child_that_a_cancellation_ends() -> None:
    looks = iter([True])
    with pytest.raises(InterruptedError), allowing(Allowance(should_continue=lambda: next(looks, False))):
        parsed(_LARGE.encode() * 30, "wsgi.py")


def test_what_is_left_of_a_large_module_counts_as_parsed_in_the_daemon() -> None:
    bindings = "".join(f"name_{number} = call()\n" for number in range(8_000)).encode()  # its outline is as large
    with allowing(Allowance(parsing_here=300_000)):
        for name in ("a.py", "b.py"):
            assert len(parsed(bindings, name, is_one_of_many=True)) == 8_000
        for source in (bindings, b"app = 1"):
            with pytest.raises(NotParsed):
                parsed(source, "c.py", is_one_of_many=True)
        assert len(parsed(bindings, "gunicorn.conf.py")) == 8_000


def test_more_large_modules_than_are_parsed_are_no_error(tmp_path: Path) -> None:
    for number in range(60):
        text = "name = 1\n" * 20_000 + f"from m{(number + 1) % 60} import *\n"
        (tmp_path / f"m{number}.py").write_text(text)
    with pytest.raises(StagingError, match="cannot find the entry point"):
        asyncio.run(look_in_thread(chosen(tmp_path)))


def test_threads_that_read_sources_are_not_those_of_others_and_do_not_keep_the_process() -> None:
    async def story() -> None:
        names = await in_thread(lambda _: (threading.current_thread().name, threading.current_thread().daemon))
        other = await asyncio.to_thread(lambda: threading.current_thread().name)
        assert names[0].startswith("staging-")
        assert names[1]
        assert not other.startswith("staging-")

    asyncio.run(story())


def test_looks_that_hang_leave_the_threads_of_others_alone() -> None:
    async def story() -> None:
        end = threading.Event()
        hanging = [asyncio.ensure_future(in_thread(lambda _: end.wait())) for _ in range(40)]
        assert await asyncio.to_thread(lambda: 1) == 1
        end.set()
        assert all(await asyncio.gather(*hanging))

    asyncio.run(story())


def test_a_sparse_archive_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "a.tar").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(SourceError, match="it is a sparse file of 1024 GiB"):
        fingerprint(str(tmp_path / "a.tar"))


def test_hashing_an_archive_ends_when_it_is_not_wanted_any_more(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(b"x" * (1 << 20))
    with pytest.raises(InterruptedError), allowing(Allowance(should_continue=lambda: False)):
        fingerprint(str(tmp_path / "a.tar"))


def test_a_zip_file_with_millions_of_names_is_refused_before_they_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as zipped:
        zipped.writestr("wsgi.py", "")
    content = bytearray(path.read_bytes())
    end = content.rindex(b"PK\5\6")
    content[end + 12 : end + 16] = (40 << 20).to_bytes(4, "little")
    path.write_bytes(bytes(40 << 20) + content)
    with pytest.raises(SourceError, match="its list of files is larger than 32 MiB"):
        check(path)


def test_a_project_is_parsed_once_in_a_look(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "a"\n')
    with allowing(Allowance()):
        assert pyproject(tmp_path) is pyproject(tmp_path)
    assert pyproject(tmp_path) is not pyproject(tmp_path)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("".join(f"[a{n}{'.a' * 62}]\n" for n in range(3500)), "more than 200000 tables"),
        ("".join(f"a{n}{'.a' * 62} = 1\n" for n in range(3500)), "more than 200000 tables"),
        ("a = [" + "{}," * 200_001 + "]", "more than 200000 tables"),
        ("".join(f"a{n}=1\n" for n in range(500_001)), "or 500000 keys"),
        ("a = " + "[" * 33 + "]" * 33, "more than 32 levels"),
        ("a = " + "{a=" * 33 + "1" + "}" * 33, "more than 32 levels"),
    ],
)
def test_a_document_of_more_than_any_tool_writes_is_refused_unparsed(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_toml(text)


@pytest.mark.parametrize(
    "text",
    ['"' * 3 + "[" * 100 + '"' * 3, "'" * 3 + "{[=." * 100 + "'" * 3, '"' + "[" * 100 + '\\""', "1 # " + "[" * 100],
)
def test_signs_within_text_and_comments_are_no_tables(text: str) -> None:
    assert "a" in parse_toml(f"a = {text}\n")


def test_a_project_of_more_than_a_mebibyte_is_refused_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("#" * (1 << 20) + "\n")
    with pytest.raises(StagingError, match=r"cannot read pyproject.toml: it is larger than 1 MiB"):
        pyproject(tmp_path)


def test_requirements_have_a_bound_of_lines_and_of_files_that_include_one_another(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("flask\n" * 20_001)
    with pytest.raises(StagingError, match=r"cannot read requirements.txt: more than 20000 requirements"):
        dependencies(tmp_path, DependencyOptions())
    (tmp_path / "requirements.txt").write_text("-r r0.txt\n")
    for number in range(5000):
        (tmp_path / f"r{number}.txt").write_text(f"-r r{number + 1}.txt\n")
    with pytest.raises(
        StagingError, match=r"cannot include r32.txt in r31.txt: more than 32 files include one another"
    ):
        dependencies(tmp_path, DependencyOptions())
