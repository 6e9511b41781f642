"""Judge a commit: its history, its signatures, what its signers change, its files, its manifests, and what it removes.

The first of these, in this order, that fails decides. Nothing is in force because of a judgement, and none of them
changes anything.
"""

from fnmatch import fnmatchcase
from pathlib import Path

from reconciler.manifests.git.candidate import Candidate, InForce, NotAccepted, Signatures, Unjudged
from reconciler.manifests.git.commits import commit_of
from reconciler.manifests.git.contents import Contents
from reconciler.manifests.git.objects import DamagedStore, Head, Objects, TooLarge
from reconciler.manifests.git.signer_scopes import SignerScopes
from reconciler.planning.origins.ancestry import ancestry
from reconciler.planning.origins.tags import moved
from reconciler.settings.git import GitOrigin


class Judge:
    """Judges the commits of one origin; `scratch` is a directory for what is read."""

    def __init__(
        self, origin: GitOrigin, store: Objects, signatures: Signatures, in_force: InForce, scratch: Path
    ) -> None:
        self._origin = origin
        self._store = store
        self._signatures = signatures
        self._contents = Contents(origin, store, in_force, scratch)
        self._scopes = SignerScopes(origin, store, self._contents)
        self.fleets = self._contents.fleets
        if origin.repository.urgent is not None:
            self.fleets.may_be_urgent = self._may_be_urgent

    async def judged(self, head: Head, accepted: Head | None, *, taken: bool, refused: bool) -> tuple[Candidate, str]:
        """Return a commit that is accepted, and who signed it. Raises NotAccepted, DamagedStore, OSError.

        `taken` says that an operator confirmed it, as one also does who names it in the settings, and `refused` that
        one refused it.
        """
        commit = head.commit
        if refused:
            raise NotAccepted("refused", f"commit {commit[:7]} was refused by an operator; push a descendant")
        try:
            return await self._judged(head, accepted, taken=taken or bool(self._origin.commit))
        except TooLarge as error:
            raise NotAccepted("refused", f"commit {commit[:7]} is too large: {error}") from error

    async def _judged(self, head: Head, before: Head | None, *, taken: bool) -> tuple[Candidate, str]:
        commit, accepted = head.commit, before.commit if before is not None else None
        if before is not None and not taken and (why := moved(head.tag, commit, before.tag, accepted)):
            raise NotAccepted("refused", why)
        await self._judge_history(commit, accepted, taken=taken)
        since = (
            None if taken and accepted is not None and not await self._store.descends(commit, accepted) else accepted
        )
        new = (commit,) if commit == since else await self._store.between(since or self._first(taken), commit)
        raw = await self._contents.read(dict.fromkeys((commit, *new)), "commit")
        if self._origin.repository.signed == "tag":
            raw |= await self._tag(head)
        unjudged = Unjudged(
            origin=self._origin,
            store=self._store,
            commit=commit_of(commit, raw[commit]),
            accepted=since,
            new=new,
            raw=raw,
            is_taken=taken,
            tag=(head.tag, head.tag_id),
        )
        signed = await self._signatures.signed_by(unjudged)
        await self._scopes.judge(unjudged, signed.names)
        candidate, _ = await self._contents.judged(unjudged)
        return candidate, signed.text

    async def _may_be_urgent(self, commit: str) -> bool:
        """Return whether the signer of a commit may have it not wait. Raises DamagedStore, OSError."""
        raw = {commit: await self._store.raw(commit)}
        named = commit_of(commit, raw[commit])
        unjudged = Unjudged(origin=self._origin, store=self._store, commit=named, accepted=None, new=(commit,), raw=raw)
        try:
            signer = (await self._signatures.signed_by(unjudged)).names.get(commit, "")
        except NotAccepted:
            return False
        return any(fnmatchcase(signer, pattern) for pattern in self._origin.repository.urgent or ())

    async def _tag(self, head: Head) -> dict[str, bytes]:
        """Return the bytes of the tag that led to a commit, by its id. Raises NotAccepted if there are none."""
        if head.tag_id == head.commit:
            raise NotAccepted("refused", f"tag {head.tag} has no text that could be signed: make it with git tag -s")
        try:
            return await self._contents.read((head.tag_id,), "tag")
        except DamagedStore as error:
            raise NotAccepted("refused", f"tag {head.tag} cannot be read: {error}") from error

    def _first(self, taken: bool) -> str | None:
        """Return the commit that trust begins with, unless an operator took one whatever its history."""
        return None if taken else self._origin.repository.first

    async def _judge_history(self, commit: str, accepted: str | None, *, taken: bool) -> None:
        other = accepted or self._origin.repository.first
        if taken or other is None:
            return
        descends = await self._store.descends(commit, other)
        ruling, why = ancestry(commit, accepted, self._origin.repository.first, lambda *_: descends)
        if ruling != "accepted":
            raise NotAccepted(ruling, why)
