"""The heap of a process is trimmed when it has grown, once more after that, and only then."""

import subprocess
import sys

from reconciler.linux.heap import Heap, resident_bytes

MEGABYTE = 1 << 20
# A large share of the memory below a small piece that is still in use, as after the manifests were read.
_FREED_BELOW = """
from reconciler.linux.heap import own_heap, resident_bytes, share_one_heap
share_one_heap()
heap = own_heap()
heap.give_back()
before = resident_bytes()
pieces = [bytes(1000) for _ in range(40_000)]
kept = pieces[-1]
del pieces
held = resident_bytes()
heap.give_back()
print(before, held, resident_bytes())
"""


class Process:
    """One that holds `resident` bytes, of which a trim gives `free` back."""

    def __init__(self) -> None:
        self.resident, self.free, self.trims = 30 * MEGABYTE, 0, 0

    def trim(self) -> None:
        self.trims += 1
        self.resident, self.free = self.resident - self.free, 0


def test_a_process_that_has_not_grown_is_left_alone() -> None:
    process = Process()
    heap = Heap(lambda: process.resident, process.trim)
    for _ in range(5):
        heap.give_back()
    assert process.trims == 2  # the first, as how much is free is not known before, and what is free only then


def test_each_megabyte_more_is_reason_to_trim() -> None:
    process = Process()
    heap = Heap(lambda: process.resident, process.trim)
    heap.give_back()
    heap.give_back()
    process.resident += MEGABYTE - 1
    heap.give_back()
    assert process.trims == 2
    process.resident, process.free = process.resident + 4 * MEGABYTE, 4 * MEGABYTE
    heap.give_back()
    assert (process.trims, process.resident) == (3, 31 * MEGABYTE - 1)


def test_what_was_in_use_at_a_trim_goes_back_at_the_next_though_the_process_has_not_grown() -> None:
    process = Process()
    heap = Heap(lambda: process.resident, process.trim)
    heap.give_back()
    heap.give_back()
    process.resident += 10 * MEGABYTE
    heap.give_back()
    process.free = 5 * MEGABYTE
    heap.give_back()
    assert process.resident == 35 * MEGABYTE
    trims = process.trims
    heap.give_back()
    assert process.trims == trims


def test_a_process_that_shrank_may_not_grow_back_unnoticed() -> None:
    process = Process()
    heap = Heap(lambda: process.resident, process.trim)
    heap.give_back()
    heap.give_back()
    process.resident -= 10 * MEGABYTE
    heap.give_back()
    process.resident += 2 * MEGABYTE
    heap.give_back()
    assert process.trims == 3


def test_what_was_freed_below_something_in_use_goes_back_to_the_kernel() -> None:
    ran = subprocess.run([sys.executable, "-c", _FREED_BELOW], capture_output=True, text=True, timeout=30, check=True)
    before, held, after = (int(word) for word in ran.stdout.split())
    assert held - before > 30 * MEGABYTE
    assert after - before < 10 * MEGABYTE


def test_the_kernel_tells_what_a_process_holds() -> None:
    assert resident_bytes() > MEGABYTE
