"""What directories take on the disk, whatever an app has put there."""

import os
from pathlib import Path

from reconciler.isolation.disk_use import disk_use


def test_files_count_once_and_links_lead_nowhere(tmp_path: Path) -> None:
    home, other = tmp_path / "home", tmp_path / "other"
    (home / "deep").mkdir(parents=True)
    other.mkdir()
    (other / "big").write_bytes(b"x" * (4 << 20))
    (home / "deep/file").write_bytes(b"x" * (1 << 20))
    (home / "link").symlink_to(other)
    before = disk_use([home])
    assert 1 << 20 <= before < 2 << 20
    os.link(home / "deep/file", home / "again")
    assert disk_use([home]) - before < 1 << 19


def test_holes_take_no_room_and_what_is_gone_is_nothing(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 30)
    assert disk_use([tmp_path, tmp_path / "gone"]) < 1 << 20
