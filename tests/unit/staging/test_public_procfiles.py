"""Procfiles as fifty public projects have them: each line is used as written down, or said to be unused."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from reconciler.planning.processes.kinds import kind_of
from reconciler.staging.detection.procfile import Procfile, read_procfile, web_process

_LINE = re.compile(r"([\w-]+) \[([\w -]+)\] (.*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """The lines of one Procfile: name, how it is used, command."""

    about: str
    lines: list[tuple[str, str, str]] = field(default_factory=list)

    def plant(self, directory: Path) -> Procfile:
        (directory / "Procfile").write_text("".join(f"{name}: {command}\n" for name, _, command in self.lines))
        found = read_procfile(directory)
        assert found is not None
        return found

    def command(self, name: str) -> str | None:
        """The command of the first line of that name that is used."""
        return next((command for each, kind, command in self.lines if each == name and kind != "nothing"), None)


def _projects() -> Iterator[Project]:
    project: Project | None = None
    for line in Path(__file__).with_name("procfiles.txt").read_text().splitlines():
        if line.startswith("= "):
            project = Project(about=line[2:])
            yield project
        elif line and not line.startswith("#"):
            match = _LINE.fullmatch(line)
            assert match is not None, line
            assert project is not None, line
            project.lines.append((match[1], match[2], match[3]))


PROJECTS = [pytest.param(project, id=project.about) for project in list(_projects())]


def test_fifty_projects_are_written_down() -> None:
    assert len(PROJECTS) == 50


@pytest.mark.parametrize("project", PROJECTS)
def test_lines_are_found_by_name_and_the_first_of_a_name_counts(tmp_path: Path, project: Project) -> None:
    procfile = project.plant(tmp_path)
    assert list(procfile.processes) == list(dict.fromkeys(name for name, _, _ in project.lines))
    assert (procfile.web, procfile.release) == (project.command("web"), project.command("release"))


@pytest.mark.parametrize("project", PROJECTS)
def test_the_server_of_the_web_line_is_understood(tmp_path: Path, project: Project) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/uwsgi.ini").write_text("[uwsgi]\nmodule = shop.wsgi\n")
    project.plant(tmp_path)
    found = web_process(tmp_path)
    asked = next((kind for name, kind, _ in project.lines if name == "web"), None)
    assert (None if found is None else found.server) == asked


@pytest.mark.parametrize("project", PROJECTS)
def test_every_other_line_is_told(tmp_path: Path, project: Project) -> None:
    told = list(project.plant(tmp_path).others())
    names = dict.fromkeys(name for name, _, _ in project.lines if name not in {"web", "release"})
    assert [line.split()[1] for line in told] == list(names)


@pytest.mark.parametrize("project", PROJECTS)
def test_the_kind_of_every_process_is_recognised(project: Project) -> None:
    """What needs a shell is given to one as a manifest would: the last command takes the shell's place."""
    for name, kind, command in project.lines:
        if name in {"web", "release"} or kind == "nothing":
            continue
        before, operator, last = command.rpartition("&& ")
        line = f"{before}{operator}exec {last}" if operator else command
        words = ["sh", "-c", line] if "&" in command else shlex.split(command)
        assert kind_of(words).name == kind, command
