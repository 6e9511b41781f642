"""Have git send the token of a repository with its first request, not only after one without it was refused.

The token reaches git in a file that is in memory only, and counts for the one server that it is for. Where it cannot be
read, git asks the credential helper, which says why.
"""

import base64
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

from reconciler.linux.memory_files import memory_files
from reconciler.linux.regular_files import read_file
from reconciler.settings.git import Repository
from reconciler.settings.git_url import uses_https

_MOST = 64 * 1024


@contextmanager
def sent_at_once(header: bytes) -> Iterator[tuple[str, ...]]:
    """Hold a configuration that git can read meanwhile, and yield git's options for it."""
    if not header:
        yield ()
        return
    with memory_files(header) as (descriptor,):
        # By the daemon's own descriptor: git and its helpers inherit none.
        yield ("-c", f"include.path=/proc/{os.getpid()}/fd/{descriptor}")


def header_for(repository: Repository, url: str) -> bytes:
    """Return the configuration that has git send the token to this address, nothing where there is none. Blocks."""
    server = urlsplit(url).netloc
    if repository.token is None or not uses_https(url) or set(server) & set('"\\\n'):
        return b""
    with suppress(OSError, ValueError):
        token = read_file(repository.token, _MOST).decode().strip()
        if token and not set(token) & set("\n\0"):
            word = base64.b64encode(f"{repository.user or 'git'}:{token}".encode()).decode()
            return f'[http "https://{server}/"]\n\textraHeader = Authorization: Basic {word}\n'.encode()
    return b""
