"""Ours: a Caddy that the daemon keeps, and nginx by a file that it writes."""

import json

from benchmarks import gunicorn, tools
from benchmarks.bench import Bench
from benchmarks.case import OURS
from benchmarks.fronts.by_hand import certificate, main_file, words
from benchmarks.fronts.front import Front
from benchmarks.peers.peer import Room


class WithCaddy(Front):
    """The daemon with a Caddy of its own; all is as by default, but for the ports."""

    name = OURS
    programs = ("caddy",)
    ways = {  # noqa: RUF012  what it is, is told by the base
        "deploy": "the code is renamed into place: it is watched", "name": "the manifest is renamed into place",
    }  # fmt: skip

    def __init__(self, room: Room) -> None:
        super().__init__(room)
        self.bench = Bench(room.directory)

    def start(self) -> None:
        settings = self.directory / "host.yaml"
        settings.write_text(json.dumps({"proxy": self.proxy()}))
        self._write()
        self.bench.start("--settings", str(settings))
        self.bench.until("running", ["app"])

    def proxy(self) -> dict[str, object]:
        return {
            "run": True, "program": tools.tool("caddy").path, "address": "127.0.0.1", "http": self.http,
            "https": self.https,
        }  # fmt: skip

    def deploy(self, version: int) -> None:
        gunicorn.write_app(self.code, version)

    def add(self, name: str) -> None:
        self.names.append(name)
        self._write()

    def stop(self) -> None:
        self.bench.end()
        super().stop()

    def manifest(self) -> dict[str, object]:
        return {"path": str(self.code), "domains": self.names, "access_log": False}

    def _write(self) -> None:
        self.bench.drop("app", json.dumps(self.manifest()))


class WithNginx(WithCaddy):
    """The daemon with the nginx that is there."""

    name = "reconciler, nginx by a file"
    programs = ("nginx",)

    def start(self) -> None:
        certificate(self.directory)
        main_file(self.directory, f"include {self.directory}/ours.conf*;")
        self.spawn(tools.tool("nginx").path, *words(self.directory))
        super().start()

    def proxy(self) -> dict[str, object]:
        command = [tools.tool("nginx").path, *words(self.directory)]
        return {
            "type": "files", "format": "nginx", "file": str(self.directory / "ours.conf"), "address": "127.0.0.1",
            "http": self.http, "https": self.https, "check": [*command, "-t"], "reload": [*command, "-s", "reload"],
        }  # fmt: skip

    def manifest(self) -> dict[str, object]:
        files = {part: {"file": str(self.directory / f"{name}.pem")} for part, name in _FILES}
        return {**super().manifest(), "tls": files}


_FILES = (("certificate", "chain"), ("key", "key"))
