"""Debian's registry as a process of a test, with TLS and a login, and skopeo as a client that is not ours."""

import base64
import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.certificates import write_certificate
from tests.support.eventually import eventually
from tests.support.ports import a_port
from tests.support.site import REPOSITORY, is_refused

USER, PASSWORD = "kim", "hush-of-kim"
# bcrypt of that password, which is the only kind that the registry takes.
_HASHED = "$2y$05$abcdefghijklmnopqrstuub4ShbiU2h34ft5SEoWqvAu/vwlzSW4y"


def tools() -> Path:
    """Return the directory with docker-registry and skopeo; skip the test where they cannot be had."""
    script = REPOSITORY / "scripts" / "registry"
    try:
        found = subprocess.run([script], capture_output=True, text=True, check=False, timeout=200)
    except subprocess.TimeoutExpired:
        pytest.skip("docker-registry is missing, and its package did not come in time: scripts/registry")
    if found.returncode:
        pytest.skip("docker-registry or skopeo is missing and cannot be had here: scripts/registry")
    return Path(found.stdout.strip())


@dataclass(slots=True)
class DebianRegistry:
    """A registry below `top`, which keeps what it has when it is restarted."""

    top: Path
    tools: Path
    port: int
    auth: dict[str, Any]
    certificate: Path
    _process: "subprocess.Popen[bytes] | None" = None

    @property
    def host(self) -> str:
        """Its name in references."""
        return f"localhost:{self.port}"

    def start(self) -> None:
        """Start it, and return once it takes connections."""
        chain, key = self.certificate, self.certificate.with_name("key.pem")
        settings = {
            "version": 0.1,
            "log": {"level": "warn", "accesslog": {"disabled": False}},
            "storage": {"filesystem": {"rootdirectory": str(self.top / "storage")}, "delete": {"enabled": True}},
            "http": {"addr": self.host, "tls": {"certificate": str(chain), "key": str(key)}, "secret": "of a test"},
            "auth": self.auth,
        }
        (self.top / "registry.yml").write_text(json.dumps(settings))
        with (self.top / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self.tools / "docker-registry", "serve", self.top / "registry.yml"], stdout=log, stderr=log,
                env={"OTEL_TRACES_EXPORTER": "none"},
            )  # fmt: skip
        eventually(lambda: not is_refused(self.port), within=60)

    def kill(self) -> None:
        """Kill it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def requests(self) -> list[str]:
        """Return the methods and paths of what it answered since it was last asked that."""
        lines = (self.top / "log").read_text().splitlines()
        (self.top / "log").write_text("")
        return [line.split('"')[1].rpartition(" ")[0] for line in lines if '"' in line and " HTTP/" in line]

    def skopeo(self, *words: str) -> str:
        """Return what skopeo prints, told of the login in a file and of the certificate in a directory."""
        (self.top / "trusted").mkdir(exist_ok=True)
        (self.top / "trusted" / "ca.crt").write_bytes(self.certificate.read_bytes())
        done = subprocess.run(
            [self.tools / "skopeo", "--insecure-policy", *words],
            capture_output=True, text=True, check=False, timeout=200,
            env={"HOME": str(self.top), "PATH": "/usr/bin:/bin"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def login(self) -> Path:
        """Return a Docker configuration with the login."""
        file = self.top / "config.json"
        encoded = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        file.write_text(json.dumps({"auths": {self.host: {"auth": encoded}}}))
        return file


@contextmanager
def debian_registry(top: Path) -> Iterator[DebianRegistry]:
    """Serve a registry that wants a login."""
    top.mkdir()
    certificate, _ = write_certificate(top, "localhost")
    (top / "users").write_text(f"{USER}:{_HASHED}\n")
    auth = {"htpasswd": {"realm": "registry", "path": str(top / "users")}}
    registry = DebianRegistry(top=top, tools=tools(), port=a_port(), auth=auth, certificate=certificate)
    try:
        registry.start()
        yield registry
    finally:
        registry.kill()
