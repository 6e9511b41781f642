"""What a process does with itself as it is confined, where no right of root is needed to try it."""

from pathlib import Path

import pytest

from reconciler.isolation import confine


def test_a_process_enters_the_groups_that_it_is_not_in_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entrances = []
    for place in ("unified/apps/shop/one", "unified/apps/shop/two", "pids/apps/shop/one"):
        (tmp_path / place).mkdir(parents=True)
        entrances.append(tmp_path / place / ("tasks" if place.startswith("pids") else "cgroup.procs"))
        entrances[-1].touch()
    monkeypatch.setattr(confine, "_groups", lambda: ["5:pids:/", "0::/system.slice/apps/shop/one"])
    confine.enter([str(each) for each in entrances])
    assert [each.read_text() for each in entrances] == ["", "0", "0"]
    for each in entrances:
        each.write_text("")
    confine.enter([str(each) for each in entrances], is_inside=True)  # the first
    assert [each.read_text() for each in entrances] == ["", "0", "0"]
    confine.enter([str(tmp_path / "gone/apps/shop/three/cgroup.procs")])
