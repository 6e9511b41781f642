"""Which processes are put into the groups of a cell that is given more of them."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest

from reconciler.isolation import cells
from reconciler.isolation.cells import ENDING, Cell, Cells
from reconciler.linux.control_groups import Group, Hierarchy, Version
from reconciler.linux.processes import Process
from reconciler.planning.isolation.layout import Layout, Place

APP, NAME = "web", "f" * 12


class Kernel:
    """Groups by path, and the start times of the processes there are."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.groups: dict[Path, set[int]] = {}
        self.ticks: dict[int, int] = {}
        self.families: dict[int, set[int]] = {}
        self.before_move: Callable[[int], None] = lambda pid: None
        kernel = self

        def add(group: Group, pid: int) -> bool:
            kernel.before_move(pid)
            for other in kernel.groups.values():
                other.discard(pid)
            kernel.groups.setdefault(group.path, set()).add(pid)
            return True

        patch.setattr(Group, "make", lambda group: None)
        patch.setattr(Group, "remove", lambda group: True)
        patch.setattr(Group, "pids", lambda group: frozenset(kernel.groups.get(group.path, ())))
        patch.setattr(Group, "add", add)
        patch.setattr(cells, "start_ticks", self.ticks.get)
        patch.setattr(cells, "family", lambda master: [(pid, 0) for pid in sorted(self.families.get(master, ()))])


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    return Kernel(monkeypatch)


def a_host() -> Cells:
    found = Cells("0" * 16)
    found._layout = Layout(limiting={"memory": Place(version=1, path="/memory", writable=True)})
    return found


def test_a_child_that_is_forked_as_its_parent_is_moved_comes_along(kernel: Kernel) -> None:
    ending = Group(Path("/ending"), 2)
    kernel.groups[ending.path], kernel.ticks[10] = {10}, 1

    def fork(pid: int) -> None:
        if pid == 10:
            kernel.groups[ending.path].add(11)
            kernel.ticks[11] = 2

    kernel.before_move = fork
    cell = Cell(groups={ENDING: ending})
    a_host().extend(cell, APP, NAME, ("memory",))
    assert cell.groups["memory"].pids() == {10, 11}


def test_the_family_of_a_master_in_no_cell_is_put_into_it(kernel: Kernel) -> None:
    kernel.ticks.update({10: 1, 11: 2})
    kernel.families[10] = {10, 11}
    cell = Cell()
    a_host().extend(cell, APP, NAME, ("memory",), 10)
    assert cell.groups["memory"].pids() == {10, 11}


def test_a_process_that_took_the_number_of_one_that_ended_stays_where_it_is(kernel: Kernel) -> None:
    kernel.ticks.update({10: 1, 11: 2})
    kernel.families[10] = {10, 11}

    def reuse(pid: int) -> None:
        kernel.families[10], kernel.ticks[11] = {10}, 3

    kernel.before_move = reuse
    cell = Cell()
    a_host().extend(cell, APP, NAME, ("memory",), 10)
    assert cell.groups["memory"].pids() == {10}


def test_an_app_whose_name_every_group_has_a_file_of_has_a_group(kernel: Kernel) -> None:
    host = a_host()
    cell = host.make("tasks", NAME, ("memory",))
    assert cell.groups["memory"].path.parent.name == "_tasks"
    assert host.make("web", NAME, ("memory",)).groups["memory"].path.parent.name == "web"


def test_a_group_without_the_master_is_none_of_the_cell(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel.ticks[10], kernel.families[10] = 1, {10}
    monkeypatch.setattr(Group, "add", lambda group, pid: False)
    cell = Cell()
    a_host().extend(cell, APP, NAME, ("memory",), 10)
    assert cell.groups == {}


@pytest.mark.parametrize(("version", "file"), [(1, "cpu.shares"), (2, "cpu.weight")])
def test_the_weight_of_all_apps_is_written_where_it_is_another_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: Version, file: str
) -> None:
    host, weights = Cells("0" * 16), list[str]()
    write = Group.write

    def written(group: Group, name: str, text: str) -> None:
        weights.append(text)
        write(group, name, text)

    monkeypatch.setattr(Group, "write", written)
    (tmp_path / host._tree).mkdir()
    place = Place(version=version, path=str(tmp_path), writable=True)
    for there, times in (("1\n", 1), (None, 1), ("1\n", 2)):
        if there is not None:
            (tmp_path / host._tree / file).write_text(there)
        host._weigh(place)
        assert len(weights) == times
        assert (tmp_path / host._tree / file).read_text() == weights[0]


@dataclass
class Started:
    """A process as far as a cell asks for it."""

    pid: int = 10
    end: str | None = None


def admitted(kernel: Kernel, process: Started, ticks: int) -> frozenset[int]:
    group = Group(Path("/cell"), 2)
    Cell(groups={ENDING: group}).admit(cast("Process", process), ticks)
    return group.pids()


def test_a_process_is_admitted_while_it_is_the_one_that_was_started(kernel: Kernel) -> None:
    kernel.ticks[10] = 1
    assert admitted(kernel, Started(), 1) == {10}
    assert admitted(kernel, Started(end="exited with 0"), 1) == {10}, "it is still in it"


@pytest.mark.parametrize("process", [Started(end="exited with 0"), Started()])
def test_what_took_the_number_of_a_process_that_has_ended_is_not_admitted(kernel: Kernel, process: Started) -> None:
    kernel.ticks[10] = 1 if process.end else 2
    assert admitted(kernel, process, 1) == set()


def test_what_took_the_number_of_a_process_as_it_was_admitted_is_back_where_its_parent_is(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel.ticks[10] = 1
    kernel.before_move = lambda pid: kernel.ticks.update({10: 2})
    above = Hierarchy(version=2, controllers=frozenset(), mount=Path("/mount"), own="/of-its-parent")
    monkeypatch.setattr(cells, "parent_of", lambda pid: 9)
    monkeypatch.setattr(cells, "hierarchies", lambda pid="self": (above,) if pid == 9 else ())
    assert admitted(kernel, Started(), 1) == set()
    assert kernel.groups[above.group.path] == {10}


@pytest.mark.parametrize(("mount", "moved"), [("/", True), ("/top", False)])
def test_processes_of_others_stay_at_the_root_of_a_container(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch, mount: str, *, moved: bool
) -> None:
    top = Group(Path("/top"), 2)
    own = Hierarchy(version=2, controllers=frozenset(), mount=Path(mount), own="/")
    kernel.families[os.getpid()] = {os.getpid()}
    monkeypatch.setattr(Group, "read", lambda group, name: f"{os.getpid()}\n77\n" if group == top else None)
    monkeypatch.setattr(cells, "_is_delegated", lambda path: True)
    monkeypatch.setattr(cells, "hierarchies", lambda pid="self": (own,))
    cells._move_out_of_the_way(top)
    assert kernel.groups.get(top.path / "earlier", set()) == ({os.getpid(), 77} if moved else set())
    kernel.families[os.getpid()] = {os.getpid(), 77}
    cells._move_out_of_the_way(top)
    assert kernel.groups[top.path / "earlier"] == {os.getpid(), 77}
