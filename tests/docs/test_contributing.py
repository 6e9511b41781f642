"""The checklists for contributors name files that are there."""

import re

from tests.support.site import REPOSITORY


def test_every_file_of_the_checklists_exists() -> None:
    text = (REPOSITORY / ".github" / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([\w./-]+(?:\.(?:py|json|md)|/))`", text))
    assert len(named) > 15
    assert [name for name in sorted(named) if not (REPOSITORY / name).exists()] == []
