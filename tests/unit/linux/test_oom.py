"""What explains a SIGKILL: the kernel's count, since the last look."""

from pathlib import Path

from reconciler.linux.oom import OomKillCounter


def test_a_kill_explains_what_ends_until_the_next_look(tmp_path: Path) -> None:
    counts = tmp_path / "vmstat"
    counts.write_text("pgfault 12\noom_kill 3\nswap_ra 0\n")
    killer = OomKillCounter(counts)
    assert not killer.struck()
    counts.write_text("pgfault 14\noom_kill 4\nswap_ra 0\n")
    assert killer.struck()
    killer.look()
    assert not killer.struck()


def test_a_kernel_that_does_not_count_explains_nothing(tmp_path: Path) -> None:
    counts = tmp_path / "vmstat"
    killer = OomKillCounter(counts)
    assert not killer.struck()
    counts.write_text("pgfault 14\noom_kill many\n")
    assert not killer.struck()


def test_this_kernel_counts() -> None:
    killer = OomKillCounter()
    assert "\noom_kill " in Path("/proc/vmstat").read_text()
    assert not killer.struck()
