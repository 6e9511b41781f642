"""The limits of an app: with those of the host, beyond them, as they are told, and which the kernel does not hold."""

import pytest

from reconciler.planning.isolation.limits import NO_LIMITS, Limits, missing, size

M = 1 << 20


def test_a_manifest_that_says_nothing_has_the_limits_of_the_host() -> None:
    most = Limits(memory=512 * M, processes=100)
    assert NO_LIMITS.within(most) == most
    assert Limits(memory=256 * M).within(most) == Limits(memory=256 * M, processes=100)
    assert NO_LIMITS.within(NO_LIMITS) is NO_LIMITS


def test_what_is_more_than_the_host_allows_is_told_with_what_it_allows() -> None:
    most = Limits(memory=512 * M, cpu=1.5)
    assert dict(Limits(memory=1024 * M, cpu=2, files=9).beyond(most)) == {"memory": "512M", "cpu": "1.5"}
    assert not dict(Limits(memory=512 * M, cpu=1.5).beyond(most))


def test_a_new_instance_takes_over_at_nine_tenths_unless_it_is_said() -> None:
    assert Limits(memory=100 * M).soft_memory == 90 * M
    assert Limits(memory=100 * M, soft=50 * M).soft_memory == 50 * M
    assert Limits(soft=50 * M).soft_memory == 50 * M
    assert NO_LIMITS.soft_memory is None


def test_limits_are_told_as_they_are_written() -> None:
    assert Limits(memory=512 * M, cpu=1.5, processes=100, disk=3 << 29).told() == (
        "memory 512M, cpu 1.5, processes 100, disk 1.5G"
    )


@pytest.mark.parametrize(("bytes_", "text"), [(0, "0"), (1023, "1023"), (1 << 10, "1K"), (3 << 29, "1.5G")])
def test_sizes_are_shown_as_a_manifest_has_them(bytes_: int, text: str) -> None:
    assert size(bytes_) == text


def test_what_the_kernel_does_not_hold_is_said_to_be_watched() -> None:
    limits = Limits(memory=M, cpu=1, processes=10, files=64, disk=M)
    together = {"memory": "together", "cpu": "together", "processes": "together"}
    assert missing(limits, together, "why") == ""  # type: ignore[arg-type]
    assert missing(limits, {"memory": "each", "files": "each"}, "there is none") == (
        "cpu and processes are watched, not enforced; memory is enforced for each process by itself, and watched for"
        " all together: there is none"
    )
    assert missing(Limits(cpu=1), {}, "") == "cpu is watched, not enforced"
    assert missing(Limits(disk=M, files=64), {}, "why") == ""
    assert missing(Limits(files=64), {"files": "later"}, "why") == "the limit of files holds from its next start"
