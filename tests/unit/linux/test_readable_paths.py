"""A path is shown without the way it was written, as long as it leads to the same place."""

from pathlib import Path

import pytest

from reconciler.linux.readable_paths import readable_path


@pytest.mark.parametrize(
    ("written", "shown"),
    [("/srv/m/../apps/blog", "/srv/apps/blog"), ("/srv//m/./x", "/srv/m/x"), ("/srv/apps", "/srv/apps")],
)
def test_a_path_is_shown_without_dots(written: str, shown: str) -> None:
    assert readable_path(written) == shown


def test_dots_behind_a_link_stay_where_they_lead_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "far" / "away").mkdir(parents=True)
    (tmp_path / "m").symlink_to("far/away")
    assert readable_path(tmp_path / "m" / ".." / "blog") == f"{tmp_path}/m/../blog"
