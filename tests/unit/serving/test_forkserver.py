"""Which template fits an instance, or why none does, decided from what it is."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reconciler.linux.processes import Command
from reconciler.planning.apps.revision import Server
from reconciler.serving.forkserver.eligibility import ForkKind, NotForkable, kind
from reconciler.serving.programs.gunicorn import Code, forkable

ENV = {"LANG": "C.UTF-8", "PYTHONUNBUFFERED": "1", "GREETING": "hi"}


class Environment:
    """What a template looks at in an environment, and an instance about to be started there."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.packages = root / "lib/python3.12/site-packages"
        (self.packages / "gunicorn").mkdir(parents=True)
        (root / "bin").mkdir()
        (root / "bin/python").symlink_to("/bin/sh")
        (root / "pyvenv.cfg").write_text("include-system-site-packages = false\n")
        (self.packages / "gunicorn/__init__.py").write_text("")

    def kind(self, server: Server | None = None, env: dict[str, str] | None = None, **code: Any) -> ForkKind:
        python = str(self.root / "bin/python")
        argv = (python, "launcher.py", "/app", "-c", "gunicorn.config", "wsgi:application")
        command = Command(argv=argv, env={**ENV, **(env or {})}, listener=0, output=Path("/dev/null"))
        known = Code(
            directory="/app", python=python, target="wsgi:application", worker_class="sync", runtime="python 3.12.1"
        )
        return kind(command, forkable(server or Server(), replace(known, **code)))

    def refused(self, server: Server | None = None, env: dict[str, str] | None = None, **code: Any) -> str:
        with pytest.raises(NotForkable) as refusal:
            self.kind(server, env, **code)
        return str(refusal.value)


@pytest.fixture
def here(tmp_path: Path) -> Environment:
    return Environment(tmp_path / "here")


@pytest.mark.parametrize(
    ("server", "worker_class", "module"),
    [
        (Server(), "sync", "gunicorn.workers.sync"),
        (Server(settings={"preload_app": False}), "sync", "gunicorn.workers.sync"),
        (Server(worker_class="sync", threads=4), "sync", "gunicorn.workers.gthread"),
        (Server(worker_class="gthread"), "sync", "gunicorn.workers.gthread"),
        (Server(), "asgi", "gunicorn.workers.gasgi"),
        (Server(), "uvicorn.workers.UvicornWorker", "gunicorn.workers.base"),
    ],
)
def test_a_template_has_imported_the_worker_and_no_other(
    here: Environment, server: Server, worker_class: str, module: str
) -> None:
    assert here.kind(server, worker_class=worker_class).module == module


def test_environments_with_the_same_interpreter_and_gunicorn_share_a_template(
    here: Environment, tmp_path: Path
) -> None:
    same = Environment(tmp_path / "same")
    (same.packages / "flask").mkdir()
    (same.packages / "more.pth").write_text("/somewhere/else\n")
    assert same.kind() == here.kind()
    changed = Environment(tmp_path / "changed")
    (changed.packages / "gunicorn/util.py").write_text("print('whose secrets are these?')")
    assert changed.kind() != here.kind()


def test_a_start_looks_at_no_file_of_a_gunicorn_that_is_known(here: Environment) -> None:
    workers = here.packages / "gunicorn/workers"
    workers.mkdir()
    module = workers / "sync.py"
    module.write_text("")
    before = here.kind()
    module.write_text("one that was looked at would be another")
    assert here.kind() == before
    (workers / ".sync.py").write_text("one that took its place is another")
    (workers / ".sync.py").rename(module)
    assert here.kind() != before


def test_packages_are_listed_again_only_once_one_was_added_or_removed(
    here: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    list_names, listed = os.listdir, list[str]()

    def listing(path: str) -> list[str]:
        listed.append(path)
        return list_names(path)

    monkeypatch.setattr(os, "listdir", listing)
    assert here.kind() == here.kind()
    (here.packages / "sitecustomize.py").write_text("")
    assert "sitecustomize.py runs" in here.refused()
    (here.packages / "sitecustomize.py").unlink()
    here.kind()
    assert listed == [str(here.packages)] * 3


def test_a_module_that_is_added_or_removed_makes_another_gunicorn(here: Environment) -> None:
    before = here.kind()
    (here.packages / "gunicorn/http").mkdir()
    (here.packages / "gunicorn/http/body.py").write_text("")
    between = here.kind()
    assert between != before
    (here.packages / "gunicorn/http/body.py").unlink()
    assert here.kind() == before


def test_what_packages_run_when_python_starts_tells_templates_apart(here: Environment) -> None:
    before = here.kind()
    hook = here.packages / "distutils-precedence.pth"
    hook.write_text("import os; os\n")
    between = here.kind()
    hook.write_text("import os; os;\n")
    assert len({before, between, here.kind()}) == 3


@pytest.mark.parametrize("runtime", ["python 2.7.18", "python 3.6.15", "python 3.7.16"])
def test_an_old_python_is_executed(here: Environment, runtime: str) -> None:
    assert here.refused(runtime=runtime) == f"{runtime} is too old for fork servers"


def test_another_implementation_is_executed(here: Environment) -> None:
    assert here.refused(runtime="pypy 7.3") == "it runs on pypy 7.3"


@pytest.mark.parametrize("worker", ["gevent", "eventlet", "tornado", "mine.workers.Special"])
def test_a_worker_that_may_patch_python_is_executed(here: Environment, worker: str) -> None:
    said = here.refused(Server(worker_class=worker))
    assert said == f"worker class {worker} may change Python before anything else is imported"


def test_an_app_imported_by_its_master_is_executed(here: Environment) -> None:
    assert "preload_app" in here.refused(Server(settings={"preload_app": True}))
    assert "preload_app" in here.refused(settings={"preload_app": True})


@pytest.mark.parametrize(
    "name",
    ["PYTHONPATH", "PYTHONHASHSEED", "LD_PRELOAD", "LC_ALL", "OPENSSL_CONF", "MALLOC_ARENA_MAX", "GUNICORN_CMD_ARGS"],
)
def test_what_a_program_reads_when_it_starts_is_executed(here: Environment, name: str) -> None:
    assert here.refused(env={name: "x"}) == f"{name} is read when a program starts"


@pytest.mark.parametrize(
    ("file", "text", "because"),
    [
        ("tracer.pth", "import tracer\n", "tracer.pth runs code whenever Python starts"),
        ("sitecustomize.py", "", "sitecustomize.py runs whenever Python starts"),
        ("setproctitle.py", "", "setproctitle is installed, which keeps to itself where the arguments are"),
    ],
)
def test_an_environment_that_does_things_on_its_own_is_executed(
    here: Environment, file: str, text: str, because: str
) -> None:
    (here.packages / file).write_text(text)
    assert here.refused() == because


def test_an_environment_that_sees_the_whole_system_is_executed(here: Environment) -> None:
    (here.root / "pyvenv.cfg").write_text("include-system-site-packages = true\n")
    assert here.refused() == "its environment has the packages of the whole system"


def test_no_environment_at_all_is_executed(here: Environment) -> None:
    (here.root / "pyvenv.cfg").unlink()
    assert here.refused().startswith("its environment is not as expected: ")


def test_what_no_exec_would_take_is_not_forked_either(here: Environment) -> None:
    assert "that large" in here.refused(env={"VCAP_SERVICES": "x" * 131_072})
    assert "that large" in here.refused(env={f"N{number}": "x" * 100_000 for number in range(30)})
    assert here.kind(env={"VCAP_SERVICES": "x" * 131_000}) == here.kind()
