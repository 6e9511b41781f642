"""The service's files: written once, kept when edited, taken away again, and clean to systemd's own eyes."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from reconciler.cli.main import group
from reconciler.installation.service import UNIT, Service


def run(*words: object) -> str:
    done = CliRunner().invoke(group, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    return done.output


def tree(root: Path) -> dict[str, str]:
    return {str(p.relative_to(root)): p.read_text() for p in sorted(root.rglob("*")) if p.is_file()}


def test_installed_twice_nothing_changes_and_uninstalled_only_data_stays(tmp_path: Path) -> None:
    run("install", "--root", tmp_path, "--dry-run")
    assert not list(tmp_path.iterdir())
    run("install", "--root", tmp_path)
    first = tree(tmp_path)
    assert (tmp_path / "var/lib/reconciler").stat().st_mode & 0o777 == 0o700
    assert "writes" not in run("install", "--root", tmp_path)
    assert tree(tmp_path) == first
    (tmp_path / "var/lib/reconciler/data").write_text("precious")
    assert "kept: the manifests in /etc/reconciler/manifests" in run("uninstall", "--root", tmp_path)
    assert tree(tmp_path) == {"var/lib/reconciler/data": "precious"}


def test_a_file_somebody_edited_is_kept_unless_forced(tmp_path: Path) -> None:
    run("install", "--root", tmp_path)
    settings = tmp_path / "etc/reconciler/host.yaml"
    settings.write_text("ports: {first: 9000}\n")
    assert "kept, because it was edited: /etc/reconciler/host.yaml" in run("install", "--root", tmp_path)
    assert "kept, because it was edited" in run("uninstall", "--root", tmp_path)
    assert settings.read_text() == "ports: {first: 9000}\n"
    run("install", "--root", tmp_path, "--force")
    assert settings.read_text().startswith("#")


def test_a_file_of_an_earlier_install_is_brought_up_to_date(tmp_path: Path) -> None:
    run("install", "--root", tmp_path)
    assert "overwrites /etc/systemd/system/reconciler.service" in run(
        "install", "--root", tmp_path, "--user", "www-data"
    )
    assert "User=www-data" in (tmp_path / "etc/systemd/system/reconciler.service").read_text()


def test_a_warden_once_installed_is_kept_and_uninstalled_with_the_daemon(tmp_path: Path) -> None:
    units = tmp_path / "etc/systemd/system"
    run("install", "--root", tmp_path)
    assert "RestrictNamespaces=yes" in (units / "reconciler.service").read_text()
    assert "enable --now reconciler-warden reconciler" in run("install", "--root", tmp_path, "--app-users")
    first = tree(tmp_path)
    assert "RestrictNamespaces=user mnt ipc\n" in first["etc/systemd/system/reconciler.service"]
    assert "warden --user reconciler" in first["etc/systemd/system/reconciler-warden.service"]
    run("install", "--root", tmp_path)
    assert tree(tmp_path) == first
    run("uninstall", "--root", tmp_path)
    assert not list(units.iterdir())


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not on this host")
@pytest.mark.parametrize(
    ("unit", "words", "most"),
    [
        ("reconciler.service", (), 2.2),
        ("reconciler.service", ("--app-users",), 2.8),
        ("reconciler-warden.service", ("--app-users",), 2.4),
    ],
)
def test_systemd_finds_nothing_wrong_with_the_unit_and_little_exposed(
    tmp_path: Path, unit: str, words: tuple[str, ...], most: float
) -> None:
    run("install", "--root", tmp_path, "--manifests", "/srv/my manifests", "--state", "/srv/my $tate/100%", *words)
    written = tmp_path / "etc/systemd/system" / unit
    beside = [each for each in written.parent.iterdir() if each != written]
    found = subprocess.run(["systemd-analyze", "verify", written, *beside], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stderr) == (0, "")
    scored = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", written], capture_output=True, text=True, check=True
    )
    score = re.search(r"exposure level for \S+: ([0-9.]+)", scored.stdout)
    assert score is not None
    assert float(score[1]) <= most


def test_each_value_of_the_unit_is_written_as_its_setting_reads_it(tmp_path: Path) -> None:
    run("install", "--root", tmp_path, "--state", "/srv/my $tate/100%")
    lines = (tmp_path / "etc/systemd/system/reconciler.service").read_text().splitlines()
    assert "WorkingDirectory=/srv/my $tate/100%%" in lines
    assert 'ReadWritePaths="/srv/my $tate/100%%"' in lines
    assert any(line.endswith('--state "/srv/my $$tate/100%%"') for line in lines)
    assert "LimitCORE=0" in lines


def test_a_program_with_a_space_in_its_path_is_one_word_of_the_unit() -> None:
    service = Service(user="x", manifests=Path("/m"), state=Path("/s"), command=("/opt/my apps/bin/reconciler",))
    assert 'ExecStart="/opt/my apps/bin/reconciler" run' in service.files()[UNIT]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may try what another user can run")
def test_a_program_that_the_services_user_cannot_reach_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    script = closed / "reconciler"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(closed / "python"))
    done = CliRunner().invoke(group, ["install", "--user", "nobody", "--dry-run"])
    assert done.exit_code == 1
    assert f"user 'nobody' cannot run {script}: " in done.output
    assert "install reconciler where that user may read it, such as /opt/reconciler" in done.output


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_completes_app_names_of_the_state_directory(shell: str, tmp_path: Path) -> None:
    assert "_RECONCILER_COMPLETE" in run("completion", shell)
    (tmp_path / "apps/blog").mkdir(parents=True)
    (tmp_path / "apps/shop").mkdir()
    words = f"reconciler logs --state {tmp_path} b"
    env = {
        "_RECONCILER_COMPLETE": f"{shell}_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": "4" if shell != "fish" else "b",
    }
    done = CliRunner(env=env).invoke(group, prog_name="reconciler")
    assert "blog" in done.output
    assert "shop" not in done.output


def test_uninstalling_needs_no_user_that_may_be_gone_already() -> None:
    assert "kept: " in run("uninstall", "--user", "no-such-user", "--dry-run")
