"""Verify the signatures of commits as the settings of their repository require it, with the signers as they are now.

The files of signers are read each time: a key that was removed or has ended signs nothing any more.
"""

import hashlib
import time
from collections.abc import Sequence
from pathlib import Path

from reconciler.linux.error_words import in_words
from reconciler.linux.regular_files import read_file
from reconciler.manifests.git.candidate import NotAccepted, SignedBy, Unjudged
from reconciler.manifests.git.signatures import Signature, Verifier
from reconciler.manifests.git.signed_objects import NotSigned
from reconciler.manifests.git.signers import LARGEST_FILE, Signers, signers_of
from reconciler.settings.git import Repository

_LARGEST_KEYRING = 16 * 1024 * 1024
_DAY_S = 86400


class CommitSignatures:
    """Verifies the commits of one repository; `scratch` is a directory for what gpg keeps meanwhile."""

    def __init__(self, repository: Repository, scratch: Path) -> None:
        self._repository = repository
        self._scratch = scratch

    async def signed_by(self, unjudged: Unjudged) -> SignedBy:
        """Return who signed the newest commit, or its tag. Raises NotAccepted, OSError.

        With `every`, each commit that would newly take effect has to be signed, those behind a merge included.
        """
        newest = unjudged.commit.id
        if self._repository.signed == "no":
            return SignedBy()
        if self._repository.signed == "tag":
            signature = await self._signature_of_tag(unjudged)
            return SignedBy(text=str(signature), names={newest: signature.identity})
        commits = [newest]
        if self._repository.signed == "every":
            commits += [each for each in unjudged.new if each != newest]
        found: dict[str, Signature] = {}
        async with Verifier(self._signers(), self._keys(), self._scratch) as verifier:
            for commit in commits:
                try:
                    found[commit] = await verifier.commit(commit, unjudged.raw[commit])
                except NotSigned as error:
                    raise NotAccepted("refused", f"commit {commit[:7]} {error}") from error
        return SignedBy(text=str(found[newest]), names={commit: each.identity for commit, each in found.items()})

    async def _signature_of_tag(self, unjudged: Unjudged) -> Signature:
        name, tag = unjudged.tag
        async with Verifier(self._signers(), self._keys(), self._scratch) as verifier:
            try:
                return await verifier.tag(tag, unjudged.raw[tag], name, unjudged.commit.id)
            except NotSigned as error:
                raise NotAccepted("refused", f"tag {name} {error}") from error

    def _signers(self) -> Signers | None:
        """Return who may sign with ssh keys. Raises NotAccepted if the file cannot be used."""
        file = self._repository.signers
        if file is None:
            return None
        try:
            found = signers_of(str(file), read_file(file, LARGEST_FILE))
        except OSError as error:
            raise NotAccepted("refused", f"cannot read the signers in {file}: {in_words(error)}") from error
        if not isinstance(found, Signers):
            raise NotAccepted("refused", f"the file of signers cannot be used: {_told(found)}")
        return found

    def _keys(self) -> bytes | None:
        """Return the OpenPGP keys that may sign. Raises NotAccepted if the file cannot be read."""
        file = self._repository.openpgp
        try:
            return None if file is None else read_file(file, _LARGEST_KEYRING)
        except OSError as error:
            raise NotAccepted("refused", f"cannot read the keys in {file}: {in_words(error)}") from error

    def trust(self) -> str:
        """Return what identifies the keys that signatures are verified with now. Blocks."""
        if self._repository.signed == "no":
            return ""
        now = time.time()  # noqa: TID251  keys are valid at a time of day
        try:
            signers, keys = self._signers(), self._keys()
        except NotAccepted as error:
            return f"unusable: {error}"
        trusted = "" if signers is None else signers.trusted(now)
        if keys is None:
            return trusted
        # An OpenPGP key says itself when it ends, so what it signed is judged again each day.
        return f"{trusted} {hashlib.sha256(keys).hexdigest()} {now // _DAY_S:.0f}"


def _told(problems: Sequence[object]) -> str:
    return "; ".join(map(str, problems[:3]))
