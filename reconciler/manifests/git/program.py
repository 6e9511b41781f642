"""Run the git program: with an environment built from nothing, within limits, and ended as a whole.

No configuration but ours, no hook, no prompt and no agent is ever used, and no secret is in its arguments or its
environment. Reading a store reaches no network, and no process uses more memory than its repository may.
"""

import asyncio
import contextlib
import os
import shlex
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from reconciler.linux import child_processes as children
from reconciler.linux.dataclass import dataclass
from reconciler.linux.files import remove, replace_file
from reconciler.linux.quick_bounds import QuickBounds, quick_bounds
from reconciler.linux.regular_files import read_own
from reconciler.manifests.git import credential_helper
from reconciler.manifests.git.sent_token import header_for, sent_at_once
from reconciler.settings.git import Repository
from reconciler.settings.git_url import uses_https, uses_ssh

# Programs are looked for where the system has them, whatever the daemon's own PATH says.
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/run/current-system/sw/bin"

MOST_OUTPUT = 64 * 1024 * 1024

_PROXIES = ("http_proxy", "https_proxy", "no_proxy", "all_proxy", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY")
_MOST_ERRORS = 64 * 1024
_BLOCK = 65536
_NICE = 5
_READ_S = 120.0

_CONFIGURATION = """\
[core]
	hooksPath = /dev/null
	fsmonitor = false
	attributesFile = /dev/null
	excludesFile = /dev/null
	untrackedCache = false
	bigFileThreshold = 16m
	deltaBaseCacheLimit = 32m
[pack]
	threads = 2
[safe]
	bareRepository = explicit
[gc]
	auto = 0
[maintenance]
	auto = false
[fetch]
	fsckObjects = true
	recurseSubmodules = false
	writeCommitGraph = false
	unpackLimit = 1
[transfer]
	bundleURI = false
[submodule]
	recurse = false
[protocol]
	version = 2
[http]
	followRedirects = false
	sslVerify = true
	lowSpeedLimit = 1000
	lowSpeedTime = 30
	emptyAuth = false
[credential]
	helper =
[advice]
	objectNameWarning = false
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A run that has ended: its exit status, what it printed, and the first of what it complained of.

    `is_cut` says that it printed more than `MOST_OUTPUT` bytes, of which `output` has the first.
    """

    status: int
    output: bytes
    errors: str
    is_cut: bool = False


class GitProgram:
    """The git program of this host, with its configuration in `directory`, which is created.

    At most so many processes at once reach a network.
    """

    def __init__(self, directory: Path, *, fetches_at_once: int = 64) -> None:
        self._slots = asyncio.Semaphore(fetches_at_once)
        self._home = directory / "home"
        self._configuration = directory / "config"
        self._preparing = threading.Lock()
        self._bounds: QuickBounds | None = None
        self._is_prepared = False
        self._stamp: tuple[int, int] | None = None

    def prepare(self) -> None:
        """Write the configuration, and find out what this host has. Raises OSError; blocks."""
        with self._preparing:  # every origin does
            self._write()
            if not self._is_prepared:
                self._bounds, self._is_prepared = quick_bounds(PATH), True

    def _write(self) -> None:
        """Write what git is configured by, unless it is there as it has to be."""
        if self._home.is_symlink() or self._home.is_file():
            self._home.unlink()
        self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._configuration.is_dir() and not self._configuration.is_symlink():
            remove(self._configuration)
        with contextlib.suppress(OSError, UnicodeDecodeError):
            if read_own(self._configuration, _MOST_ERRORS) == _CONFIGURATION.encode():
                self._stamp = self._stamped()
                return
        replace_file(self._configuration, _CONFIGURATION, durable=False)
        self._stamp = self._stamped()

    def _stamped(self) -> tuple[int, int] | None:
        """Return what tells that the configuration is as it was written, None if it is not there."""
        try:
            found = os.lstat(self._configuration)
        except OSError:
            return None
        return (found.st_ino, found.st_mtime_ns) if self._home.is_dir() else None

    async def _ensure(self) -> None:
        """Write the configuration again where it was lost, as git must never run without it. Raises OSError."""
        stamp = self._stamped()
        if stamp is None or stamp != self._stamp:
            await asyncio.to_thread(self.prepare)

    async def read(
        self, store: Path, *arguments: str, memory: int, asked: Path | None = None, into: Path | None = None
    ) -> Finished:
        """Run a command that reads a store and reaches no network; `asked` and `into` are its input and output.

        It uses at most `memory` bytes.

        Raises OSError if git cannot be run, TimeoutError.
        """
        argv = ("git", "-c", "protocol.allow=never", f"--git-dir={store}", *arguments)
        environment = self._environment(protocols="none", memory=memory)
        bound = self._bounds.around(argv, memory=memory) if self._bounds is not None else children.bound_to_us(argv)
        return await self._run(bound, environment, within_s=_READ_S, asked=asked, into=into)

    async def fetch(
        self, store: Path, repository: Repository, url: str, refspecs: Sequence[str], *options: str
    ) -> Finished:
        """Fetch from one address of a repository into a store. Raises OSError, TimeoutError."""
        quiet = ("--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance", "--no-recurse-submodules")
        return await self._ask(store, repository, url, ("fetch", *quiet, *options), refspecs)

    async def tags(self, store: Path, repository: Repository, url: str, pattern: str) -> Finished:
        """List the tags of one address that match a pattern, each with its object. Raises OSError, TimeoutError."""
        return await self._ask(store, repository, url, ("ls-remote", "--quiet", "--refs"), (f"refs/tags/{pattern}",))

    async def push(
        self, store: Path, repository: Repository, url: str, refspecs: Sequence[str], *options: str
    ) -> Finished:
        """Push objects of a store to references of one address. Raises OSError, TimeoutError."""
        return await self._ask(store, repository, url, ("push", "--quiet", "--no-verify", *options), refspecs)

    async def _ask(
        self, store: Path, repository: Repository, url: str, command: Sequence[str], refs: Sequence[str]
    ) -> Finished:
        """Run a command that reaches one address of a repository. Raises OSError, TimeoutError."""
        environment = self._environment(protocols=_protocol_of(url), memory=repository.most_memory)
        environment |= {name: os.environ[name] for name in _PROXIES if name in os.environ}
        environment["RECONCILER_LARGEST_FILE"] = str(repository.largest_store)
        if uses_ssh(url):
            environment |= {"GIT_SSH_COMMAND": _ssh_command(repository), "GIT_SSH_VARIANT": "ssh"}

        async def finished(*options: str) -> Finished:
            argv = ("git", *_options_for(repository, url, self._home), *options, f"--git-dir={store}", *command)
            bound = children.bound_with_descendants((*argv, "--end-of-options", url, *refs), nice=_NICE)
            return await self._run(bound, environment, within_s=repository.timeout_s)

        async with self._slots:
            with sent_at_once(await asyncio.to_thread(header_for, repository, url)) as options:
                found = await finished(*options)
            if options and found.status and "/proc/" in found.errors:
                return await finished()  # a host may forbid a process what another one has open
            return found

    async def create(self, store: Path, *, memory: int, sha256: bool = False) -> Finished:
        """Create an empty store. Raises OSError, TimeoutError."""
        kind = ("--object-format=sha256",) if sha256 else ()
        argv = ("git", "init", "--quiet", "--bare", "--template=", *kind, str(store))
        environment = self._environment(protocols="none", memory=memory)
        return await self._run(children.bound_to_us(argv), environment, within_s=_READ_S)

    def _environment(self, *, protocols: str, memory: int) -> dict[str, str]:
        return {
            "PATH": PATH,
            "LANG": "C",
            "LC_ALL": "C",
            "HOME": str(self._home),
            "XDG_CONFIG_HOME": str(self._home),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": str(self._configuration),
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ASKPASS": "true",
            "SSH_ASKPASS": "true",
            "GIT_ALLOW_PROTOCOL": protocols,
            "GIT_OPTIONAL_LOCKS": "0",
            "GIT_NO_REPLACE_OBJECTS": "1",
            "GIT_NO_LAZY_FETCH": "1",
            "RECONCILER_STAGING_MEMORY": str(memory),
        }

    async def _run(
        self,
        argv: Sequence[str],
        environment: dict[str, str],
        *,
        within_s: float,
        asked: Path | None = None,
        into: Path | None = None,
    ) -> Finished:
        await self._ensure()
        with contextlib.ExitStack() as files:
            options: dict[str, Any] = {"stdin": asyncio.subprocess.DEVNULL, "stdout": asyncio.subprocess.PIPE}
            if asked is not None:
                options["stdin"] = files.enter_context(asked.open("rb"))
            if into is not None:
                options["stdout"] = files.enter_context(into.open("wb"))
            async with children.running(
                argv, within_s, env=environment, cwd=self._home, stderr=asyncio.subprocess.PIPE, **options
            ) as child:
                assert child.stderr is not None
                errors = asyncio.ensure_future(_first(child.stderr, _MOST_ERRORS))
                try:
                    output = b"" if child.stdout is None else await _first(child.stdout, MOST_OUTPUT + 1)
                    complaints = await errors
                finally:
                    errors.cancel()
                status = await child.wait()
        return Finished(
            status=status,
            output=output[:MOST_OUTPUT],
            errors=complaints.decode(errors="replace").strip(),
            is_cut=len(output) > MOST_OUTPUT,
        )


async def _first(stream: asyncio.StreamReader, most: int) -> bytes:
    """Return the first bytes of a stream, which is read to its end."""
    found = bytearray()
    while block := await stream.read(_BLOCK):
        found += block[: most - len(found)]
    return bytes(found)


def _protocol_of(url: str) -> str:
    return "ssh" if uses_ssh(url) else "https" if uses_https(url) else "file"


def _options_for(repository: Repository, url: str, empty: Path) -> tuple[str, ...]:
    """Return the configuration that only this repository needs; paths of secrets, never a secret.

    `empty` is a directory that holds nothing.
    """
    options = [f"fetch.fsck.{fault}=ignore" for fault in repository.fsck]
    if uses_https(url) and repository.ca is not None:
        # Those of the system's directory would be trusted beside them, and be read each time.
        options += [f"http.sslCAInfo={repository.ca}", f"http.sslCAPath={empty}"]
    if uses_https(url) and repository.client_certificate is not None:
        options += [f"http.sslCert={repository.client_certificate}", f"http.sslKey={repository.client_key}"]
    if uses_https(url) and repository.token is not None:
        host = urlsplit(url).netloc
        helper = (sys.executable, "-I", "-S", credential_helper.__file__)
        words = (*helper, "https", host, repository.user or "git", str(repository.token))
        # Git also asks its helpers to keep what was right, and to forget what was wrong.
        asked = f'f() {{ test "$1" != get || exec {shlex.join(words)} get; }}; f'
        options += ["credential.helper=", f"credential.helper=!{asked}"]
    return tuple(word for option in options for word in ("-c", option))


def _ssh_command(repository: Repository) -> str:
    """Return the command with which git opens ssh: with pinned host keys, one key, and nothing of the user's own."""
    options = {
        "BatchMode": "yes",
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "StrictHostKeyChecking": "yes",
        "UserKnownHostsFile": _quoted(repository.known_hosts),
        "GlobalKnownHostsFile": "/dev/null",
        "UpdateHostKeys": "no",
        "ConnectTimeout": "10",
        "ServerAliveInterval": "15",
        "ServerAliveCountMax": "2",
        "ClearAllForwardings": "yes",
        "PermitLocalCommand": "no",
    }
    words = ["ssh", "-F", "/dev/null", "-i", str(repository.key)]
    words += [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    return shlex.join(words)


def _quoted(path: Path | None) -> str:
    """Return a path as ssh reads it in an option: with `%` doubled, and in quotes if it has spaces."""
    text = str(path).replace("%", "%%")
    return f'"{text}"' if " " in text else text
