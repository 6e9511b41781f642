"""An SSH server of our own, which lets in one key, and a client that knows nothing but it.

Unlike the other servers, one that root starts runs as root: it can log in nobody else.
"""

import fcntl
import getpass
import os
import stat
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.servers.private import Private, installed, listens
from tests.support.ports import a_port

_SERVER = Path("/usr/sbin/sshd")
_SEPARATION = Path("/run/sshd")
# Tells a directory that these servers have made from that of the package.
_OURS = 0o711


@dataclass(frozen=True, kw_only=True)
class SshServer:
    """A server; `client` is a directory with the ssh to put first on PATH."""

    user: str
    port: int
    client: Path

    def url(self, program: str = "") -> str:
        return f"ssh://{self.user}@127.0.0.1:{self.port}{program}"


@contextmanager
def ssh_server(directory: Path) -> Iterator[SshServer]:
    """A server that runs as long as the context."""
    installed("openssh")
    directory.chmod(0o700)
    for name in ("host", "key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", directory / name], check=True)
    port = a_port()
    (directory / "server").write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {directory}/host\nPidFile none\nStrictModes no\nUsePAM no\n"
        f"AuthorizedKeysFile {directory}/key.pub\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
    )
    known = (directory / "host.pub").read_text()
    (directory / "known").write_text(f"[127.0.0.1]:{port} {known}")
    client = directory / "bin"
    client.mkdir()
    (client / "ssh").write_text(
        f"#!/bin/sh\nexec /usr/bin/ssh -F none -i {directory}/key -o IdentitiesOnly=yes -o BatchMode=yes"
        f' -o UserKnownHostsFile={directory}/known "$@"\n'
    )
    (client / "ssh").chmod(0o755)
    place = Private(directory=directory, user=None)
    with _separation():
        try:
            process = place.start([_SERVER, "-D", "-e", "-f", directory / "server"])
            place.until(lambda: listens(port), process)
            yield SshServer(user=getpass.getuser(), port=port, client=client)
        finally:
            place.end()


@contextmanager
def _separation() -> Iterator[None]:
    """The directory that a server of root needs for every connection; the last of several that use it removes it."""
    if os.geteuid() != 0:
        yield
        return
    with ExitStack() as held:
        while True:
            with suppress(FileExistsError):
                _SEPARATION.mkdir(mode=_OURS)
            try:
                opened = os.open(_SEPARATION, os.O_RDONLY | os.O_DIRECTORY)
            except FileNotFoundError:
                continue
            fcntl.flock(opened, fcntl.LOCK_SH)
            if os.fstat(opened).st_nlink:
                break
            os.close(opened)
        held.callback(os.close, opened)
        try:
            yield
        finally:
            with suppress(BlockingIOError):
                fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if stat.S_IMODE(os.fstat(opened).st_mode) == _OURS:
                    _SEPARATION.rmdir()
