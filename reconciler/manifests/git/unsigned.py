"""Accept commits without looking at signatures, where the settings say so in as many words (`signed: no`)."""

from reconciler.manifests.git.candidate import NotAccepted, Unjudged


class Unsigned:
    """Judges no signature; what the settings require to be signed is refused."""

    async def signer(self, unjudged: Unjudged) -> str:
        """Return no name, as no signature was looked at. Raises NotAccepted."""
        if unjudged.origin.repository.signed != "no":
            raise NotAccepted("refused", "its signature cannot be verified by this version")
        return ""

    def trust(self) -> str:
        """Return what identifies the keys: there are none."""
        return ""
