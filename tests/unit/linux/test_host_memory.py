"""The memory of this host, and what is left of it."""

from pathlib import Path

import pytest

from reconciler.linux import host_memory


def test_all_of_it_and_what_is_left_is_read() -> None:
    total, available = host_memory.host_memory()
    assert total is not None
    assert available is not None
    assert 0 < available <= total


@pytest.mark.parametrize("text", ["", "MemTotal:\n", "MemFree: 4 kB\n", "MemTotal: many kB\n"])
def test_what_the_kernel_does_not_tell_is_not_known(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    def read(_: str | Path) -> str:
        return text

    monkeypatch.setattr(host_memory, "read_proc", read)
    assert host_memory.host_memory() == (None, None)
