"""Origins behind https and ssh: credentials go where they belong and nowhere else, and what fails is told in words."""

import contextlib
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from reconciler.manifests.git import program, sent_token
from reconciler.planning.origins.observed import FetchFailure
from tests.contract.test_git_origins import Host, app, host, limited, repository
from tests.fakes.authority import Authority, made_in
from tests.servers.git_http import GitServer, answering, git_server, redirecting_to
from tests.servers.openssh import SshServer, ssh_server
from tests.support.eventually import eventually
from tests.support.repository import Repository

__all__ = ["host", "repository"]

TOKEN = "tok-4f1c-very-secret"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return made_in(tmp_path)


@pytest.fixture
def server(tmp_path: Path, authority: Authority, repository: Repository) -> Iterator[GitServer]:
    with git_server(repository.bare.parent, authority.serving, TOKEN) as serving:
        yield serving


def over_https(host: Host, server: GitServer, authority: Authority, **others: Any) -> None:
    """Let a host fetch from a server with its token."""
    token = host.state.state.parent / "token"
    token.write_text(f"{TOKEN}\n")
    given = {"urls": (server.url(),), "ca": authority.certificate, "token": token, "user": "reader", **others}
    limited(host, **given)


def everything_written(host: Host) -> str:
    """All that is in the state directory, and all events and facts."""
    files = [path for path in host.state.state.rglob("*") if path.is_file() and not path.is_symlink()]
    told = [path.read_bytes().decode(errors="replace") for path in files]
    return "\n".join([*told, *map(str, host.events()), str(host.facts), str(host.failure)])


def test_a_token_opens_its_server_and_is_written_nowhere(
    host: Host, repository: Repository, server: GitServer, authority: Authority
) -> None:
    over_https(host, server, authority)
    commit = repository.push(app("shop"))
    assert host.follow().state == "current"
    assert host.in_force == commit
    assert f"reader:{TOKEN}" in {credentials for _, credentials in server.asked}
    assert TOKEN not in everything_written(host)


def test_one_commit_is_found_on_a_server_that_gives_out_branches_only(
    host: Host, repository: Repository, server: GitServer, authority: Authority
) -> None:
    over_https(host, server, authority)
    server.speaks_newest = False
    first = repository.push(app("shop"))
    repository.push(app("blog"))
    host.origin = replace(host.origin, branch="", commit=first)
    assert host.follow().state == "current"
    assert host.in_force == first
    host.origin = replace(host.origin, commit="1" * 40)
    assert host.follow().message.startswith("the repository has no commit 1111111; ")
    assert host.in_force == first


def test_a_token_is_in_no_argument_and_no_environment_of_any_process_of_a_fetch(
    host: Host, repository: Repository, server: GitServer, authority: Authority
) -> None:
    over_https(host, server, authority)
    repository.push(app("shop"))
    seen: list[bytes] = []
    dumps: set[str] = set()

    def watch(_: BaseHTTPRequestHandler) -> bool:
        seen.extend(what_processes_show())
        for each in processes_of(server):
            with contextlib.suppress(OSError):
                is_git = Path(f"/proc/{each}/comm").read_text().startswith("git")
                limits = Path(f"/proc/{each}/limits").read_text().splitlines() if is_git else []
                dumps.update(line for line in limits if line.startswith("Max core file size"))
        return False

    server.instead = watch
    assert host.follow().state == "current"
    assert any(b"git-remote-https" in shown or b"remote-https" in shown for shown in seen)
    assert [shown for shown in seen if TOKEN.encode() in shown] == []
    assert {tuple(line.split()[4:6]) for line in dumps} == {("0", "0")}, "what crashes leaves no memory behind"


def what_processes_show() -> Iterator[bytes]:
    """The arguments and the environment of every process."""
    for directory in Path("/proc").glob("[0-9]*"):
        for name in ("cmdline", "environ"):
            with contextlib.suppress(OSError):  # it has ended, or is another user's
                yield (directory / name).read_bytes()


def test_nothing_new_costs_few_requests_and_asks_for_its_own_branch_only(
    host: Host, repository: Repository, server: GitServer, authority: Authority
) -> None:
    over_https(host, server, authority)
    server.token = None
    repository.push(app("shop"))
    host.follow()
    server.asked.clear()
    host.follow()
    assert len(server.asked) <= 2, server.asked


def test_a_token_costs_no_request_more_and_starts_no_program_to_read_it(
    host: Host,
    repository: Repository,
    server: GitServer,
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    over_https(host, server, authority)
    repository.push(app("shop"))
    host.follow()
    python, log = tmp_path / "python", tmp_path / "started"
    python.write_text(f'#!/bin/sh\necho "$@" >> {log}\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    server.asked.clear()
    host.follow()
    started = [line.split() for line in log.read_text().splitlines()]
    assert started
    assert [words for words in started if words[2].endswith("credential_helper.py")] == []
    assert len(server.asked) <= 2, server.asked
    assert {credentials for _, credentials in server.asked} == {f"reader:{TOKEN}"}


def test_a_token_is_sent_also_where_git_may_not_read_what_the_daemon_has_in_memory(
    host: Host, repository: Repository, server: GitServer, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    over_https(host, server, authority)
    commit = repository.push(app("shop"))
    closed = host.state.state.parent / "closed"
    closed.mkdir()
    real = sent_token.sent_at_once

    @contextlib.contextmanager
    def forbidden(header: bytes) -> Iterator[tuple[str, ...]]:
        with real(
            header
        ) as options:  # a link that leads in a circle fails as a file that is forbidden does, for root too
            yield tuple(f"include.path={circle}" if "include" in option else option for option in options)

    circle = closed / "proc" / "fd"
    circle.parent.mkdir()
    circle.symlink_to(circle)
    monkeypatch.setattr(program, "sent_at_once", forbidden)
    assert host.follow().state == "current", host.failure
    assert host.in_force == commit


def test_a_token_that_is_replaced_counts_from_the_next_look_on(
    host: Host, repository: Repository, server: GitServer, authority: Authority
) -> None:
    over_https(host, server, authority)
    repository.push(app("shop"))
    host.follow()
    server.token = "another"
    commit = repository.push(app("blog"))
    host.follow()
    assert host.failure is not None
    assert host.failure.code == "credentials"
    (host.state.state.parent / "token").write_text("another\n")
    assert host.follow().state == "current"
    assert host.in_force == commit


def test_a_server_that_asks_for_a_certificate_gets_that_of_this_host(
    host: Host, repository: Repository, authority: Authority, tmp_path: Path
) -> None:
    tls = authority.serving
    tls.verify_mode = ssl.CERT_REQUIRED
    tls.load_verify_locations(authority.certificate)
    commit = repository.push(app("shop"))
    key, _, certificate = authority.vouched.read_text().partition("-----BEGIN CERTIFICATE-----")
    (tmp_path / "web1.key").write_text(key)
    (tmp_path / "web1.pem").write_text(f"-----BEGIN CERTIFICATE-----{certificate}")
    with git_server(repository.bare.parent, tls) as server:
        over_https(host, server, authority, token=None)
        assert host.follow().state == "unreachable"
        shown = {"client_certificate": tmp_path / "web1.pem", "client_key": tmp_path / "web1.key"}
        over_https(host, server, authority, token=None, **shown)
        assert host.follow().state == "current"
    assert host.in_force == commit
    assert key.strip() not in everything_written(host)


def test_a_wrong_token_is_told_in_words(
    host: Host, repository: Repository, server: GitServer, authority: Authority
) -> None:
    over_https(host, server, authority)
    server.token = "another"
    repository.push(app("shop"))
    assert "localhost refuses this host's credentials; no commit is in force yet" in host.follow().message


@pytest.mark.parametrize("way", ["another host", "another name of it", "http", "file"])
def test_a_redirect_gets_no_credentials(
    host: Host, repository: Repository, server: GitServer, authority: Authority, way: str
) -> None:
    over_https(host, server, authority)
    repository.push(app("shop"))
    with git_server(repository.bare.parent, authority.serving, TOKEN) as other:
        target = {
            "another host": other.url(),
            "another name of it": server.url(host="127.0.0.1"),
            "http": other.url().replace("https", "http"),
            "file": f"file://{repository.bare}",
        }[way]
        server.instead = redirecting_to(target)
        planned = host.follow()
        assert "localhost redirects to another address: name that one in 'url'" in planned.message
        assert other.asked == []
    assert [credentials for _, credentials in server.asked] == [f"reader:{TOKEN}"], "it asked once, and went nowhere"


def test_a_git_that_asks_for_a_password_gives_it_to_wherever_it_is_redirected(
    repository: Repository, server: GitServer, authority: Authority, tmp_path: Path
) -> None:
    """The control of what a redirect gets."""
    repository.push(app("shop"))
    program = tmp_path / "askpass"
    program.write_text(f"#!/bin/sh\ncase $1 in User*) echo reader ;; *) echo {TOKEN} ;; esac\n")
    program.chmod(0o755)
    options = ("-c", f"http.sslCAInfo={authority.certificate}")
    with git_server(repository.bare.parent, authority.serving, TOKEN) as other:
        server.instead = redirecting_to(other.url())
        repository.git(*options, "ls-remote", server.url(), env={"no_proxy": "*", "GIT_ASKPASS": str(program)})
        assert f"reader:{TOKEN}" in {each for _, each in other.asked}


@pytest.mark.parametrize(
    ("status", "code", "why"),
    [
        (404, "not-found", "there is no repository at this address of localhost"),
        (403, "credentials", "localhost refuses this host's credentials"),
        (429, "rate-limited", "localhost answers that there were too many requests"),
    ],
)
def test_an_answer_that_is_no_repository_is_told_with_the_right_reason(
    host: Host, repository: Repository, server: GitServer, authority: Authority, status: int, code: str, why: str
) -> None:
    over_https(host, server, authority)
    server.instead = answering(status)
    host.follow()
    assert host.failure == FetchFailure(code=code, why=why)


def test_a_certificate_that_nobody_vouches_for_is_refused(
    host: Host, repository: Repository, server: GitServer, authority: Authority
) -> None:
    over_https(host, server, authority, ca=None)
    repository.push(app("shop"))
    host.follow()
    assert host.failure is not None
    assert host.failure.code == "tls"
    assert server.asked == []


def test_a_server_with_a_good_certificate_for_another_name_is_refused_and_gets_no_token(
    host: Host, repository: Repository, authority: Authority
) -> None:
    with git_server(repository.bare.parent, authority.serving, TOKEN, "127.0.0.2") as server:
        over_https(host, server, authority, urls=(server.url(host="127.0.0.2"),))
        repository.push(app("shop"))
        host.follow()
    assert host.failure is not None
    assert (host.failure.code, server.asked) == ("tls", [])


def test_a_server_that_never_answers_is_given_up_with_its_whole_group(
    host: Host, repository: Repository, server: GitServer, authority: Authority
) -> None:
    over_https(host, server, authority, timeout_s=5.0)
    asking, over = set[str](), threading.Event()

    def hang(_: BaseHTTPRequestHandler) -> bool:
        asking.update(processes_of(server))
        over.wait(60)
        return True

    server.instead = hang
    try:
        host.follow()
    finally:
        over.set()
    assert asking
    assert host.failure == FetchFailure(code="time-out", why="localhost does not answer in time ('timeout' is 5 s)")
    eventually(lambda: not processes_of(server))


def test_a_pack_that_is_cut_short_leaves_what_is_in_force(
    host: Host, repository: Repository, server: GitServer, authority: Authority
) -> None:
    over_https(host, server, authority)
    server.token = None
    commit = repository.push(app("shop"))
    host.follow()
    newest = repository.push(app("blog"))

    def cut(request: BaseHTTPRequestHandler) -> bool:
        if request.command != "POST":
            return False
        request.send_response(200)
        request.send_header("Content-Type", "application/x-git-upload-pack-result")
        request.send_header("Content-Length", "100000")
        request.end_headers()
        request.wfile.write(b"000dpackfile\n0100\x01PACK")
        return True

    server.instead = cut
    host.follow()
    assert host.failure is not None
    assert host.in_force == commit
    server.instead = None
    assert host.follow().state == "current"
    assert host.in_force == newest


def test_the_newest_commit_of_a_replica_that_lags_is_found_by_looking_again(
    host: Host, repository: Repository, server: GitServer, authority: Authority
) -> None:
    over_https(host, server, authority)
    server.token = None
    repository.push(app("shop"))
    host.follow()
    newest = repository.push(app("blog"))
    lagging = repository.bare.parent / "lagging"
    repository.git("clone", "-q", "--bare", str(repository.bare), str(lagging / "fleet.git"), at=lagging.parent)
    repository.git("update-ref", "refs/heads/main", "HEAD~1", at=lagging / "fleet.git")
    server.root, current = lagging, server.root
    looks: list[int] = []

    def catch_up() -> None:
        looks.append(1)
        server.root = current if len(looks) == 3 else lagging

    assert host.look_after_a_request(catch_up) == [2.0, 5.0, 15.0]
    assert host.in_force == newest


def processes_of(server: GitServer) -> set[str]:
    """The running processes with a server's address among their arguments."""
    found = set()
    for arguments in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if f":{server.port}/".encode() in arguments.read_bytes():
                found.add(arguments.parent.name)
    return found


@pytest.fixture
def ssh(tmp_path: Path) -> Iterator[SshServer]:
    directory = tmp_path / "ssh"
    directory.mkdir()
    with ssh_server(directory) as serving:
        yield serving


def over_ssh(host: Host, ssh: SshServer, repository: Repository) -> Path:
    """Let a host fetch by ssh; the file of the host keys that it knows."""
    directory = ssh.client.parent
    limited(host, urls=(ssh.url(str(repository.bare)),), key=directory / "key", known_hosts=directory / "known")
    return directory / "known"


def test_a_branch_is_fetched_by_ssh_with_a_pinned_host_key(host: Host, repository: Repository, ssh: SshServer) -> None:
    known = over_ssh(host, ssh, repository)
    before = known.read_text()
    commit = repository.push(app("shop"))
    assert host.follow().state == "current"
    assert host.in_force == commit
    assert known.read_text() == before


def test_one_commit_is_found_by_ssh_on_a_server_that_gives_out_branches_only(
    host: Host, repository: Repository, ssh: SshServer
) -> None:
    over_ssh(host, ssh, repository)  # without GIT_PROTOCOL, which sshd does not let in, git speaks its first protocol
    first = repository.push(app("shop"))
    repository.push(app("blog"))
    hidden = repository.commit(app("wiki"))
    repository.git("push", "-q", "origin", f"{hidden}:refs/hidden/wiki")
    repository.git("config", "transfer.hideRefs", "refs/hidden", at=repository.bare)
    host.origin = replace(host.origin, branch="", commit=first)
    assert (host.follow().state, host.in_force) == ("current", first)
    host.origin = replace(host.origin, commit=hidden)
    assert host.follow().message.startswith(f"the repository has no commit {hidden[:7]}; ")
    assert host.in_force == first


@pytest.mark.parametrize("how", ["changed", "unknown", "of another name"])
def test_a_host_key_that_is_not_pinned_is_refused_and_never_learnt(
    host: Host, repository: Repository, ssh: SshServer, how: str, tmp_path: Path
) -> None:
    known = over_ssh(host, ssh, repository)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "other"], check=True)
    match how:
        case "changed":
            known.write_text(f"[127.0.0.1]:{ssh.port} {(tmp_path / 'other.pub').read_text()}")
        case "unknown":
            known.write_text("")
        case _:
            known.write_text(known.read_text().replace("127.0.0.1", "git.example.com"))
    before = known.read_text()
    repository.push(app("shop"))
    planned = host.follow()
    assert host.failure is not None
    assert host.failure.code == "host-key"
    assert "the host key of 127.0.0.1 is not" in planned.message
    assert known.read_text() == before
    if how == "changed":
        shown = subprocess.run(
            ["ssh-keygen", "-lf", ssh.client.parent / "host.pub"], capture_output=True, text=True, check=True
        )
        assert f"its fingerprint is {shown.stdout.split()[1]}" in planned.message


def test_a_key_that_the_server_does_not_know_is_told_in_words(
    host: Host, repository: Repository, ssh: SshServer, tmp_path: Path
) -> None:
    over_ssh(host, ssh, repository)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "other"], check=True)
    limited(host, key=tmp_path / "other")
    host.follow()
    assert host.failure is not None
    assert (host.failure.code, host.failure.why) == ("credentials", "127.0.0.1 refuses this host's credentials")


def test_two_origins_of_one_repository_are_followed_beside_each_other(host: Host, repository: Repository) -> None:
    commit = repository.push({**app("shop"), "hosts/web2/blog.yaml": "path: ../../apps/shop\n"})
    host.follow()
    first = host.origin
    host.origin = replace(first, name="second", paths=("hosts/web2",))
    assert host.follow().state == "current"
    assert host.state.current("second").readlink().name == commit
    assert host.state.current("fleet").readlink().name == commit
