"""Images and what runs in the foreground, killed, on a full disk, two at once: nothing half-written counts as whole."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.chaos.mounts import fill, needs_mounts, small_disk
from tests.support.images import a_base, whole_image
from tests.support.site import REPOSITORY, Site

pytestmark = pytest.mark.nightly
_KILLS = 40


@contextmanager
def began(site: Site, *words: str, before: tuple[str, ...] = ("-m", "reconciler")) -> Iterator["subprocess.Popen[str]"]:
    """Start a command of the site, and end all that it started."""
    end = words.index("--") if "--" in words else len(words)
    places = ("--manifests", str(site.manifests), "--state", str(site.state))
    given = (*words[:end], *places, *words[end:])
    process = subprocess.Popen(
        [sys.executable, *before, *given],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, cwd=REPOSITORY,
        start_new_session=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def done(site: Site, *words: str, before: tuple[str, ...] = ("-m", "reconciler")) -> tuple[int, str, str]:
    """Run a command of the site to its end; return its exit code and what it printed."""
    with began(site, *words, before=before) as process:
        out, err = process.communicate(timeout=300)
        return process.returncode, out, err


def image(site: Site, output: Path) -> tuple[str, ...]:
    return "image", "shop", "--base", str(site.root / "base"), "--output", str(output)


def ending(directory: Path, number: int, how: str) -> tuple[str, ...]:
    return "-m", "tests.support.killed_at", str(directory), str(number), how, "reconciler"


def spread(count: int) -> list[int]:
    """Return numbers of effects to end at: all of them, or some over their whole range."""
    return sorted({1 + (count - 1) * each // (_KILLS - 1) for each in range(_KILLS)}) if count > _KILLS else [
        *range(1, count + 1)
    ]  # fmt: skip


def a_site(site: Site) -> None:
    site.app("shop")
    a_base(site.root / "base", *(f"3.{minor}" for minor in range(8, 30)))


@pytest.mark.parametrize("how", ["kill", "full"])
def test_an_image_is_the_one_before_or_the_next_wherever_the_command_ends(site: Site, tmp_path: Path, how: str) -> None:
    a_site(site)
    output = tmp_path / "image"
    assert done(site, *image(site, output))[0] == 0
    before = whole_image(output)
    site.source("shop", "2")
    code, _, err = done(site, *image(site, tmp_path / "other"), before=ending(tmp_path / "other", 10**6, how))
    assert code == 0, err
    after, count = whole_image(tmp_path / "other"), int(err.split()[-1])
    assert count > 20
    seen = set()
    for number in spread(count):
        site.source("shop", "1")
        assert done(site, *image(site, output))[0] == 0
        assert whole_image(output) == before
        site.source("shop", "2")
        code, _, err = done(site, *image(site, output), before=ending(output, number, how))
        found = whole_image(output)
        assert found in (before, after)
        assert code in (0, -signal.SIGKILL) or "No space left on device" in err, err
        seen.add(found)
        assert done(site, *image(site, output))[1] == f"{output}@{after}\n"
        assert whole_image(output) == after
    assert seen == {before, after} if how == "kill" else before in seen


def test_what_runs_in_the_foreground_is_staged_whole_wherever_the_command_before_was_killed(site: Site) -> None:
    a_site(site)
    print_it = "import wsgi; print(wsgi.application({'PATH_INFO': '/'}, print))"
    run_it = ("exec", "shop", "--no-release", "--", "python", "-c", print_it)
    code, _, err = done(site, *image(site, site.root / "image"), before=ending(site.state, 10**6, "kill"))
    assert code == 0, err
    count = int(err.split()[-1])
    assert count > 20
    killed = 0
    for turn, number in enumerate(spread(count)):
        site.source("shop", str(turn))
        with began(site, *run_it, before=ending(site.state, number, "kill")) as process:
            _, err = process.communicate(timeout=300)
            assert process.returncode in (0, -signal.SIGKILL), err
            killed += process.returncode != 0
        code, out, err = done(site, *run_it)
        assert code == 0, err
        assert out.splitlines()[-1] == f"[b'{turn}']"
    assert killed >= _KILLS // 2


@needs_mounts
def test_a_layout_on_a_full_disk_keeps_its_image_and_the_reason_is_told(site: Site, tmp_path: Path) -> None:
    a_site(site)
    with small_disk(tmp_path / "disk", megabytes=16) as disk:
        output = disk / "image"
        code, _, err = done(site, *image(site, output))
        assert code == 0, err
        before = whole_image(output)
        site.source("shop", "2")
        ballast = fill(disk)
        code, _, err = done(site, *image(site, output))
        assert (code, "No space left on device" in err, "Traceback" in err) == (1, True, False), err
        assert whole_image(output) == before
        ballast.unlink()
        assert done(site, *image(site, output))[0] == 0
        assert whole_image(output) not in ("", before)
        assert not [file for file in (output / "blobs" / "sha256").iterdir() if file.name.startswith(".")]


def test_two_commands_that_write_one_layout_leave_one_of_their_images(site: Site, tmp_path: Path) -> None:
    a_site(site)
    output = tmp_path / "image"
    other = Site(root=tmp_path / "other-site")
    for directory in (other.root, other.manifests, other.root / "apps"):
        directory.mkdir()
    other.app("shop", "2")
    a_base(other.root / "base", *(f"3.{minor}" for minor in range(8, 30)))
    alone = set()
    for each in (site, other):
        assert done(each, *image(each, output))[0] == 0
        alone.add(whole_image(output))
    assert len(alone) == 2
    for _ in range(5):
        with began(site, *image(site, output)) as one, began(other, *image(other, output)) as two:
            for process in (one, two):
                _, err = process.communicate(timeout=300)
                assert process.returncode == 0 or "another command uses" in err, err
            assert 0 in (one.returncode, two.returncode)
        assert whole_image(output) in alone
