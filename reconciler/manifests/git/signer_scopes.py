"""Hold each signer to what the settings let them change: by what the manifests of commits ask for, not by their files.

With `signed: every`, each new commit is held to its own signer's scope, by its difference from each of its parents;
otherwise the signer of the newest commit, or of its tag, answers for all that is new.
"""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from reconciler.documents.problem import one_line
from reconciler.manifests.git.candidate import NotAccepted, Unjudged
from reconciler.manifests.git.commit_documents import CommitDocuments
from reconciler.manifests.git.commits import parents_of
from reconciler.manifests.git.contents import Contents
from reconciler.manifests.git.objects import Objects
from reconciler.planning.origins.scopes import EVERYTHING, Documents, Excess, Scope, beyond_scope, scope_of
from reconciler.planning.wording import listed
from reconciler.settings.git import GitOrigin

_LONGEST_TOLD = 200


class SignerScopes:
    """Judges the signers of one origin's commits by the scopes in the settings of its repository."""

    def __init__(self, origin: GitOrigin, objects: Objects, contents: Contents) -> None:
        self._origin = origin
        self._scopes = origin.repository.scopes
        self._objects = objects
        self._contents = contents

    async def judge(self, unjudged: Unjudged, signers: Mapping[str, str]) -> None:
        """Judge the new commits, given who signed which. Raises NotAccepted, DamagedStore, OSError.

        A commit that an operator confirmed, or that trust begins with, is not judged: what it changes is not known.
        """
        since = unjudged.accepted or self._origin.repository.first
        if not self._scopes or unjudged.is_taken or unjudged.commit.id == since:
            return
        reader = CommitDocuments(self._origin, self._objects, self._contents)
        known: dict[str, Documents] = {}
        for commit, signer in signers.items():
            scope = self._scope_of(signer)
            if scope is None:
                raise NotAccepted("refused", f"{_signed(commit, signer)}, to whom 'scopes' gives none")
            if scope == EVERYTHING:
                continue
            every = self._origin.repository.signed == "every"
            parents = parents_of(unjudged.raw[commit]) if every else [since] if since is not None else []
            # Most often, the next commit is a parent of this one.
            known = {each: known[each] if each in known else await reader.of(each) for each in (commit, *parents)}
            excess = beyond_scope(scope, [known[parent] for parent in parents], known[commit])
            if excess:
                why = f"{_signed(commit, signer)}, whose scope does not allow it: it {_told(excess)}"
                raise NotAccepted("refused", why)

    def _scope_of(self, signer: str) -> Scope | None:
        """Return the scope of a signer: that of the very name, otherwise of the first pattern that matches it."""
        given = self._scopes.get(signer)
        if given is None:
            given = next((scope for pattern, scope in self._scopes.items() if fnmatchcase(signer, pattern)), None)
        return None if given is None else scope_of(given)


def _told(excess: Sequence[Excess]) -> str:
    """Return the first changes in words, in one line whatever names a commit has."""
    return listed([one_line(str(each))[:_LONGEST_TOLD] for each in excess])


def _signed(commit: str, signer: str) -> str:
    return f"commit {commit[:7]} is signed by {signer}"
