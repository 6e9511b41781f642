"""Verify the signature of one commit or tag with the keys of a repository's signers, as of now.

What is not verified by any of them is not signed; that a program is missing, or takes too long, is no exception.
"""

from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from reconciler.linux.dataclass import dataclass
from reconciler.manifests.git.openpgp_signatures import Keyring, keyring
from reconciler.manifests.git.signed_objects import NotSigned, SignedObject, signed_commit, signed_tag
from reconciler.manifests.git.signers import Signers
from reconciler.manifests.git.ssh_signatures import ssh_signer
from reconciler.manifests.git.verifiers import Programs


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """A signature that was verified: whose it is, by the key alone, and the key's fingerprint."""

    identity: str
    key: str

    def __str__(self) -> str:
        return self.identity if self.identity == self.key else f"{self.identity} ({self.key})"


def now_s() -> float:
    """Return the time of day in seconds since 1970."""
    return datetime.now(UTC).timestamp()


class Verifier:
    """Verifies signatures as long as its context lasts; `scratch` is a directory for what gpg keeps meanwhile.

    `signers` are those who sign with ssh keys, `keys` the OpenPGP keys of the others; either may be None.
    """

    def __init__(
        self,
        signers: Signers | None,
        keys: bytes | None,
        scratch: Path,
        programs: Programs | None = None,
        now: Callable[[], float] = now_s,
    ) -> None:
        self._signers = signers
        self._keys = keys
        self._scratch = scratch
        self._programs = programs or Programs()
        self._now = now
        self._keyring: Keyring | None = None
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def commit(self, commit: str, raw: bytes) -> Signature:
        """Return the signature of a commit, given its id and its bytes. Raises NotSigned, OSError."""
        return await self._verified(signed_commit(commit, raw))

    async def tag(self, tag: str, raw: bytes, name: str, commit: str) -> Signature:
        """Return the signature of a tag that has to bear this name and lead to this commit.

        Raises NotSigned, OSError.
        """
        return await self._verified(signed_tag(tag, raw, name, commit))

    async def _verified(self, found: SignedObject) -> Signature:
        if found.form == "ssh":
            if self._signers is None:
                raise NotSigned("no-signer", "is signed with an ssh key, and 'signers' is not set")
            principal, key = await ssh_signer(found, self._signers, self._programs, self._now)
            return Signature(identity=principal, key=key)
        if self._keys is None:
            raise NotSigned("no-signer", "is signed with OpenPGP, and 'openpgp' is not set")
        if self._keyring is None:
            made = keyring(self._keys, self._programs, self._scratch)
            self._keyring = await self._stack.enter_async_context(made)
        fingerprint = await self._keyring.signer(found)
        return Signature(identity=fingerprint, key=fingerprint)
