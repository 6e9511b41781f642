"""Every deliberate mistake still has the text it is put in the place of."""

from tests.tools.mutants import MUTANTS, ROOT


def test_what_each_mutant_replaces_is_there_once() -> None:
    stale = [m.mistake for m in MUTANTS if (ROOT / "reconciler" / m.file).read_text().count(m.right) != 1]
    assert stale == []
