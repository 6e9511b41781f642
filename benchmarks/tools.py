"""The programs beside which we are measured: what is needed, and not there yet, is installed.

Those of the package index get an environment of their own below .bench/ in the tree. Those of the distribution are
taken from PATH, or installed with apt-get by root: none of them is a service. What cannot be had is told, and why.
"""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import uv

from reconciler.staging.environments.installer_env import for_installers

_PLACE = Path(__file__).parent.parent / ".bench"
# Program → the requirement that brings it, for the record and for the same figures next year.
_INDEX = {
    "uwsgi": "uwsgi==2.0.30",
    "supervisord": "supervisor==4.3.0",
    "circusd": "circus==0.19.0",
    "honcho": "honcho==2.0.0",
    "celery": "celery[redis]==5.7.0",
}
# Program → the distribution's package.
_DISTRIBUTION = {"runsvdir": "runit", "s6-svscan": "s6", "wrk": "wrk", "nginx": "nginx-light", "caddy": "caddy"}
# Those that would be started as services when they are installed: the project's own script keeps them from it.
_SERVERS = frozenset(("nginx", "caddy"))
# What the project's own extras bring stands beside this Python; daemons of the distribution are no users' programs.
_PATH = f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}:/usr/sbin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A program that is there, or the reason why not."""

    path: str = ""
    version: str = ""
    missing: str = ""


def tool(program: str) -> Tool:
    """Find a program, or install it."""
    if program not in _asked:
        _asked[program] = _from_index(program) if program in _INDEX else _from_distribution(program)
    return _asked[program]


def requirement(program: str) -> str:
    """What is asked of the package index for a program."""
    return _INDEX[program]


def neighbour(program: str, other: str) -> str:
    """Another program of the same package."""
    return str(Path(tool(program).path).with_name(other))


_asked: dict[str, Tool] = {}


def found() -> dict[str, str]:
    """The version of every program that was asked for, or why it is missing."""
    return {program: each.version or f"missing: {each.missing}" for program, each in _asked.items()}


def ours() -> str:
    """The version of what is measured: the package's, and the commit it is at."""
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=_PLACE.parent, capture_output=True, text=True, check=False
    )
    return f"{version('reconciler')} ({commit.stdout.strip() or 'not a checkout'})"


def _from_index(program: str) -> Tool:
    requirement, place = _INDEX[program], _PLACE / program
    found = place / "bin" / program
    override = place / "installed"
    if not (found.is_file() and override.is_file() and override.read_text() == requirement):
        print(f"installing {requirement} below {_PLACE.name}/", file=sys.stderr, flush=True)
        uv_bin = os.fsdecode(uv.find_uv_bin())
        # setuptools: what builds uwsgi from its source, and what supervisor imports on some Pythons.
        install = [
            uv_bin,
            "pip",
            "install",
            "--quiet",
            "--python",
            str(place / "bin/python"),
            requirement,
            "setuptools",
        ]
        for command in ([uv_bin, "venv", "--quiet", "--clear", "--python", sys.executable, str(place)], install):
            done = subprocess.run(command, env=for_installers(os.environ), capture_output=True, text=True, check=False)
            if done.returncode != 0:
                return Tool(missing=f"{requirement} cannot be installed: {_last_line(done.stderr)}")
        override.write_text(requirement)
    return Tool(path=str(found), version=requirement.replace("==", " "))


def _from_distribution(program: str) -> Tool:
    package = _DISTRIBUTION[program]
    problem = "" if shutil.which(program, path=_PATH) else _install(program, package)
    found = shutil.which(program, path=_PATH)
    if found is None:
        return Tool(missing=f"{package} is not installed: {problem}")
    # The one beside this Python is no package of the distribution.
    own = Path(found).parent == Path(sys.executable).parent
    return Tool(path=found, version=f"{package} {_said(found) if own else _packaged(package)}".strip())


def _said(program: str) -> str:
    """Return the version that a program says it is."""
    said = subprocess.run([program, "version"], capture_output=True, text=True, check=False).stdout.split()
    return said[0] if said else ""


def _install(program: str, package: str) -> str:
    """Have the distribution install a package; says what went wrong."""
    if program in _SERVERS:
        script = str(_PLACE.parent / "scripts/servers")
        return _last_line(subprocess.run([script, program], capture_output=True, text=True, check=False).stderr)
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        return "only root may do that, where there is apt-get"
    print(f"installing {package} with apt-get", file=sys.stderr, flush=True)
    command = ["apt-get", "install", "-qq", "-y", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=300", package]
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if done.returncode != 0:  # the list of what there is may be missing or old
        subprocess.run(["apt-get", "update", "-qq"], env=env, capture_output=True, check=False)
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    return _last_line(done.stderr)


def _packaged(package: str) -> str:
    if shutil.which("dpkg-query") is None:
        return ""
    asked = ["dpkg-query", "--show", "--showformat", "${Version}", package]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no reason was given"])[-1]
