"""Names of directories reach the disk, be they few or many; what cannot be synced is an error."""

from pathlib import Path

import pytest

from reconciler.linux.sync import sync_directories


@pytest.mark.parametrize("number", [1, 40])
def test_directories_are_synced_and_one_that_is_missing_is_an_error(tmp_path: Path, number: int) -> None:
    sync_directories([str(tmp_path)] * number)
    with pytest.raises(FileNotFoundError):
        sync_directories([str(tmp_path / "gone")] * number)
