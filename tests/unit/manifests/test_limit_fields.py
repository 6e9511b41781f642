"""The field `limits` of an app and of its processes: what is read, and what is refused in words."""

import pytest

from reconciler.manifests.app_document import HostDefaults
from reconciler.manifests.parse_file import Parsed, parse
from reconciler.planning.isolation.limits import NO_LIMITS, Limits

M = 1 << 20
HOST = HostDefaults(limits=Limits(memory=1024 * M, processes=200))


def read(text: str, host: HostDefaults | None = None) -> Parsed:
    return parse("/m/shop.yaml", f"path: x\n{text}\n".encode(), host or HostDefaults())


def refused(text: str, host: HostDefaults | None = None) -> list[str]:
    return [f"{problem.path}: {problem.message}" for problem in read(text, host).problems]


def limits_of(text: str, host: HostDefaults | None = None) -> Limits:
    (document,) = read(text, host).apps
    return document.unleased.limits


def test_every_limit_is_read() -> None:
    text = "limits: {memory: 512M, soft: 400M, cpu: 1.5, processes: 100, files: 4096, disk: 2G}"
    assert limits_of(text) == Limits(
        memory=512 * M, soft=400 * M, cpu=1.5, processes=100, files=4096, disk=2048 * M
    )  # fmt: skip
    assert limits_of("limits: {memory: 536870912}") == Limits(memory=512 * M)


def test_a_manifest_that_says_nothing_has_those_of_the_host() -> None:
    assert limits_of("") == NO_LIMITS
    assert limits_of("", HOST) == HOST.limits
    assert limits_of("limits: {memory: 512M}", HOST) == Limits(memory=512 * M, processes=200)


def test_each_process_has_its_own() -> None:
    (document,) = read(
        "processes: {worker: {command: a, limits: {memory: 1G}}, beat: celery beat, other: 2}", HOST
    ).apps
    found = {process.name: process.limits for process in document.unleased.processes}
    assert found == {
        "worker": Limits(memory=1024 * M, processes=200), "beat": HOST.limits, "other": HOST.limits,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ("{memory: 1M}", "memory: expected a size from 16M to 64T, not 1M"),
        ("{memory: 0}", "memory: expected a size such as 512M or 2G, 16M at least"),
        ("{memory: 999999999999T}", "memory: expected a size from 16M to 64T, not 1e+12T"),
        ("{memory: -1}", "memory: expected a size such as 512M or 2G, 16M at least"),
        ("{memory: max}", "memory: expected a size such as 512M or 2G, 16M at least"),
        ("{memory: '512M\\n9'}", "memory: expected a size such as 512M or 2G, 16M at least"),
        ("{memory: 512M, soft: 600M}", "soft: is more than 'memory', which is 512M"),
        ("{cpu: 0}", "cpu: expected a number of cores, such as 1.5"),
        ("{cpu: .inf}", "cpu: expected a number of cores, such as 1.5"),
        ("{cpu: .nan}", "cpu: expected a number of cores, such as 1.5"),
        ("{cpu: true}", "cpu: expected a number of cores, such as 1.5"),
        ("{processes: 1}", "processes: must be at least 2: gunicorn's master and each of its workers is one"),
        ("{processes: 99999999}", "processes: expected a number of processes and threads, 1 to 4194304"),
        ("{files: 3}", "files: expected a number of open files, 64 to 1048576"),
        ("{files: 2000000}", "files: expected a number of open files, 64 to 1048576"),
        ("{disk: 1K}", "disk: expected a size from 1M to 64T, not 1K"),
        ("{swap: 1G}", "swap: unknown field"),
        ("512M", ": expected limits, such as {memory: 512M, processes: 100}"),
    ],
)
def test_absurd_limits_are_refused_in_words(limits: str, said: str) -> None:
    (found,) = refused(f"limits: {limits}")
    assert found.startswith(f"limits.{said}" if not said.startswith(":") else f"limits{said}")


def test_there_is_room_for_every_worker() -> None:
    assert refused("workers: 4\nlimits: {processes: 4}") == [
        "limits.processes: must be at least 5: gunicorn's master and each of its workers is one"
    ]
    assert not refused("workers: 4\nlimits: {processes: 5}")


def test_what_is_more_than_the_host_allows_is_refused_with_what_it_allows() -> None:
    assert refused("limits: {memory: 2G}", HOST) == [
        "limits.memory: is more than the settings of this host allow, which is 1G"
    ]
    assert refused("processes: {worker: {command: a, limits: {processes: 300}}}", HOST) == [
        "processes.worker.limits.processes: is more than the settings of this host allow, which is 200"
    ]


def test_a_process_has_no_limit_of_disk() -> None:
    (found,) = refused("processes: {worker: {command: a, limits: {disk: 1G}}}")
    assert found.startswith("processes.worker.limits.disk: unknown field")
