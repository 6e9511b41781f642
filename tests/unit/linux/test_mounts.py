"""Of which directories inotify hears everything, by the table of mounts."""

from pathlib import Path

import pytest

from reconciler.linux.mounts import Mounts
from tests.support.mount_tables import table


def test_a_local_file_system_tells_of_everything_and_a_remote_one_does_not(tmp_path: Path) -> None:
    assert table(tmp_path, "ext4").notify_of_all_below(str(tmp_path))
    assert not table(tmp_path, "nfs4").notify_of_all_below(str(tmp_path))
    assert not table(tmp_path, "fuse.sshfs").notify_of_all_below(str(tmp_path))


def test_a_file_system_that_is_not_in_the_table_is_not_trusted(tmp_path: Path) -> None:
    assert not Mounts.of("").notify_of_all_below(str(tmp_path))
    assert not table(tmp_path, "ext4").notify_of_all_below(str(tmp_path / "missing"))


def test_nor_is_one_with_another_below(tmp_path: Path) -> None:
    own = tmp_path / "with a blank"
    own.mkdir()
    assert not table(own, "ext4", f"{tmp_path}/with\\040a\\040blank/media").notify_of_all_below(str(own))
    assert table(own, "ext4", f"{tmp_path}/with\\040a\\040blanket").notify_of_all_below(str(own))


@pytest.mark.parametrize("change", ["media", "media/deeper"])
def test_two_tables_differ_when_something_was_mounted_between(tmp_path: Path, change: str) -> None:
    assert table(tmp_path, "ext4") == table(tmp_path, "ext4")
    assert table(tmp_path, "ext4") != table(tmp_path, "ext4", f"{tmp_path}/{change}")


def test_the_table_of_this_process_can_be_read() -> None:
    assert "/proc" in Mounts.now().points
    assert not Mounts.now().notify_of_all_below("/proc")
