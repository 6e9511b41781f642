"""The paths below a state directory."""

from pathlib import Path

import pytest

from reconciler.state.paths import StatePaths

_FILE_OF_MULTIPROCESSING = "pymp-abcdefgh/listener-abcdefgh"


@pytest.mark.parametrize("name", ["blog", "a" * 63])
def test_temporary_files_of_an_app_of_any_name_leave_room_for_sockets(name: str) -> None:
    paths = StatePaths(state=Path("/var/lib/reconciler"))
    assert len(str(paths.scratch(name) / _FILE_OF_MULTIPROCESSING)) <= 107
    assert paths.scratch(name) != paths.scratch(name[:-1])


def test_an_app_with_room_for_sockets_keeps_its_temporary_files_in_its_own_directory() -> None:
    paths = StatePaths(state=Path("/var/lib/reconciler"))
    assert paths.scratch("blog") == paths.app("blog") / "tmp"
