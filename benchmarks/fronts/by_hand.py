"""Proxies whose configuration a person writes: Caddy by a Caddyfile, nginx, and nginx the way Piku writes it."""

import subprocess
from pathlib import Path

from benchmarks import gunicorn, tools
from benchmarks.clients import free_ports
from benchmarks.fronts.front import NAME, OverGunicorn
from benchmarks.peers.peer import Room


class CaddyByHand(OverGunicorn):
    """Caddy with its defaults: a Caddyfile of three lines for each name."""

    name = "Caddy by hand"
    programs = ("caddy",)
    ways = {  # noqa: RUF012  what it is, is told by the base
        "deploy": "HUP to gunicorn", "name": "the Caddyfile has it, then caddy reload",
    }  # fmt: skip

    def start(self) -> None:
        self.app = self.gunicorn(self.port)
        self._write()
        self.spawn(tools.tool("caddy").path, "run", "--config", "Caddyfile", "--adapter", "caddyfile")

    def add(self, name: str) -> None:
        self.names.append(name)
        self._write()
        address = f"unix/{self.directory}/admin.sock"
        self.tell(
            tools.tool("caddy").path, "reload", "--config", "Caddyfile", "--adapter", "caddyfile", "--address", address
        )

    def _write(self) -> None:
        sites = "".join(
            f"{name} {{\n\ttls internal\n\treverse_proxy 127.0.0.1:{self.port}\n}}\n" for name in self.names
        )
        (self.directory / "Caddyfile").write_text(
            "{\n"
            f"\tadmin unix/{self.directory}/admin.sock\n\tskip_install_trust\n\tpersist_config off\n"
            f"\thttp_port {self.http}\n\thttps_port {self.https}\n\tdefault_bind 127.0.0.1\n"
            "}\n" + sites
        )


class NginxByHand(OverGunicorn):
    """nginx as gunicorn's own documentation has it, with a certificate of its own."""

    name = "nginx by hand"
    programs = ("nginx",)
    ways = {"deploy": "HUP to gunicorn", "name": "a file, then nginx -s reload"}  # noqa: RUF012

    def __init__(self, room: Room) -> None:
        super().__init__(room)
        self._at = self.port

    def start(self) -> None:
        self.app = self.gunicorn(self.port)
        certificate(self.directory)
        main_file(self.directory, f"include {self.directory}/sites/*.conf;")
        (self.directory / "sites").mkdir()
        self._write()
        self.spawn(tools.tool("nginx").path, *self._words())

    def add(self, name: str) -> None:
        self.names.append(name)
        self._write()
        self.tell(tools.tool("nginx").path, *self._words(), "-s", "reload")

    def _words(self) -> tuple[str, ...]:
        return words(self.directory)

    def _write(self) -> None:
        (self.directory / "sites/app.conf").write_text(
            f"""
upstream app {{ server 127.0.0.1:{self._at} fail_timeout=0; }}
server {{
    listen 127.0.0.1:{self.https} ssl;
    server_name {" ".join(self.names)};
    ssl_certificate {self.directory}/chain.pem;
    ssl_certificate_key {self.directory}/key.pem;
    location / {{
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_set_header X-Forwarded-Proto $scheme;
        proxy_set_header Host $http_host;
        proxy_redirect off;
        proxy_pass http://app;
    }}
}}
"""
        )


class LikePiku(NginxByHand):
    """A deploy as Piku does it: another port, the site's file again, nginx reloaded, and the old server ended.

    gunicorn serves in place of uWSGI, so that all serve the same app.
    """

    name = "nginx, as Piku deploys"
    ways = {  # noqa: RUF012
        "deploy": "another port, its file again, nginx -s reload, the server before is ended",
        "name": "a file, then nginx -s reload",
    }

    def deploy(self, version: int) -> None:
        gunicorn.write_app(self.code, version)
        before = self.app
        (self._at,) = free_ports(1)
        self._write()
        self.app = self.gunicorn(self._at)
        self.tell(tools.tool("nginx").path, *self._words(), "-s", "reload")
        assert before is not None
        before.terminate()
        before.wait()


def certificate(directory: Path) -> None:
    """Make a certificate of its own issuer, for every name that is asked for."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days",
         "30", "-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME},DNS:*.{NAME}",
         "-keyout", "key.pem", "-out", "chain.pem"],
        cwd=directory, check=True, capture_output=True,
    )  # fmt: skip


def main_file(directory: Path, included: str) -> None:
    """Write the nginx.conf of a directory, with as many workers as Debian's."""
    temporary = "".join(
        f"{each}_temp_path {directory}/{each}; " for each in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (directory / "nginx.conf").write_text(
        f"daemon off; worker_processes auto; pid {directory}/nginx.pid; error_log {directory}/error.log;\n"
        f"events {{ worker_connections 768; }}\nhttp {{ access_log off; {temporary}\n{included}\n}}\n"
    )


def words(directory: Path) -> tuple[str, ...]:
    """Return the options by which nginx uses a directory alone."""
    return "-c", str(directory / "nginx.conf"), "-e", str(directory / "error.log")
