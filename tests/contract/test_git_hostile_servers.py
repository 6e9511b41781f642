"""Servers that hang, trickle, reset or hang up: each is given up in time, as a whole, with its reason."""

import contextlib
import os
import socket
import struct
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from reconciler.manifests.git.program import Finished, GitProgram
from tests.contract.test_git_origins import Host, app, host, leftovers, limited, repository
from tests.contract.test_git_servers import authority, over_https, processes_of, server
from tests.fakes.authority import Authority, made_in
from tests.servers.git_http import GitServer, git_server
from tests.support.eventually import eventually
from tests.support.repository import Repository

__all__ = ["authority", "host", "repository", "server"]


def begin_pack(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.send_header("Content-Type", "application/x-git-upload-pack-result")
    request.send_header("Content-Length", "100000")
    request.end_headers()
    request.wfile.write(b"0100")  # so many bytes follow
    request.wfile.flush()


def test_a_server_that_sends_a_byte_now_and_then_is_given_up_in_time(
    host: Host, repository: Repository, server: GitServer, authority: Authority
) -> None:
    over_https(host, server, authority)
    server.token = None
    commit = repository.push(app("shop"))
    host.follow()
    over_https(host, server, authority, timeout_s=5.0)
    repository.push(app("blog"))
    over, posts = threading.Event(), count(1)

    def trickle(request: BaseHTTPRequestHandler) -> bool:
        if request.command != "POST" or next(posts) < 2:  # the first one asks for the branch alone
            return False
        begin_pack(request)
        with contextlib.suppress(OSError):
            while not over.wait(0.1):
                request.wfile.write(b"x")
        return True

    server.instead = trickle
    try:
        host.follow()
    finally:
        over.set()
    assert host.failure is not None
    assert (host.failure.code, host.in_force) == ("time-out", commit)
    eventually(lambda: not processes_of(server))
    assert leftovers(host) == []


def test_a_server_that_resets_the_connection_in_the_middle_of_a_pack_is_told(
    host: Host, repository: Repository, server: GitServer, authority: Authority
) -> None:
    over_https(host, server, authority)
    server.token = None
    commit = repository.push(app("shop"))
    host.follow()
    newest, posts = repository.push(app("blog")), count(1)

    def reset(request: BaseHTTPRequestHandler) -> bool:
        if request.command != "POST" or next(posts) < 2:
            return False
        begin_pack(request)
        request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        os.close(request.connection.detach())
        return True

    server.instead = reset
    host.follow()
    assert host.failure is not None
    assert (host.failure.code, host.in_force) == ("cut-off", commit)
    assert host.failure.why.startswith("the connection to localhost was cut off: ")
    assert leftovers(host) == []
    server.instead = None
    assert (host.follow().state, host.in_force) == ("current", newest)


@contextlib.contextmanager
def hanging_up() -> Iterator[int]:
    """A server that takes what a client says first and hangs up; its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        connection.recv(65536)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def test_a_server_that_ends_tls_early_is_told(host: Host, authority: Authority) -> None:
    with hanging_up() as port:
        limited(host, urls=(f"https://localhost:{port}/fleet.git",), ca=authority.certificate)
        host.follow()
    assert host.failure is not None
    assert host.failure.code == "tls"
    assert host.failure.why.startswith("there is no secure connection to localhost: ")


class Bound(GitProgram):
    """A git program to which some file or directory of the host is another one."""

    bound: tuple[Path, str]

    async def _run(self, argv: Sequence[str], environment: dict[str, str], **options: Any) -> Finished:
        ours, place = self.bound
        words = ("unshare", "--mount", "sh", "-c", 'mount --bind "$0" "$1" && shift && exec "$@"', str(ours), place)
        where = argv.index("git")
        return await super()._run((*argv[:where], *words, *argv[where:]), environment, **options)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may have git trust another directory of certificates")
def test_a_server_that_the_system_trusts_is_refused_where_the_settings_name_the_only_certificates_to_trust(
    host: Host, repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "system").mkdir()
    (tmp_path / "other").mkdir()
    trusted, other = made_in(tmp_path / "system"), made_in(tmp_path / "other")
    trusted = replace(trusted, vouched=trusted.vouched.rename(tmp_path / "vouched-by-the-system.pem"))
    monkeypatch.setattr(Bound, "bound", (tmp_path / "system", "/etc/ssl/certs"), raising=False)
    host.git = Bound
    commit = repository.push(app("shop"))
    with git_server(repository.bare.parent, trusted.serving) as server:
        over_https(host, server, other, token=None)
        host.follow()
        assert host.failure is not None
        assert (host.failure.code, server.asked) == ("tls", [])
        over_https(host, server, trusted, token=None)
        host.follow()
        assert host.in_force == commit


@pytest.mark.nightly
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may have git ask a name server of the test's own")
def test_a_name_server_that_never_answers_is_given_up_in_time(
    host: Host, repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = repository.push(app("shop"))
    host.follow()
    address = f"127.{os.getpid() % 251 + 1}.{os.getpid() // 251 % 251}.53"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind((address, 53))
        (tmp_path / "resolv.conf").write_text(f"nameserver {address}\noptions timeout:30\n")
        monkeypatch.setattr(Bound, "bound", (tmp_path / "resolv.conf", "/etc/resolv.conf"), raising=False)
        for name in ("http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.delenv(name, raising=False)
        host.git = Bound
        limited(host, urls=("https://git.example.com/fleet.git",), timeout_s=5.0)
        host.follow()
        silent.setblocking(False)
        assert silent.recv(512), "it was asked"
    assert host.failure is not None
    assert (host.failure.code, host.in_force) == ("time-out", commit)
    eventually(lambda: not _running("https://git.example.com/fleet.git"))


def _running(word: str) -> list[str]:
    found = []
    for arguments in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if word.encode() in arguments.read_bytes():
                found.append(arguments.parent.name)
    return found
