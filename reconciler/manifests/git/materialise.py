"""Write the files of a commit that was accepted to the disk, as a tree beside those of other commits."""

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory

from reconciler.manifests.git.objects import Objects
from reconciler.manifests.git.source_trees import SourceTrees
from reconciler.manifests.git.trees import Index, Trees


async def materialise(index: Index, objects: Objects, trees: Trees | SourceTrees, before: str | None = None) -> None:
    """Write a tree; files that the tree of the commit `before` has are linked.

    Raises TooLarge, DamagedStore, OSError.
    """
    with TemporaryDirectory(dir=trees.directory, prefix=".draft-") as scratch:
        asked, batch = Path(scratch, "ids"), Path(scratch, "objects")
        ids = await asyncio.to_thread(trees.missing, index, before)
        await asyncio.to_thread(asked.write_text, "".join(f"{each}\n" for each in ids))
        await objects.contents(asked, batch)
        await asyncio.to_thread(trees.write, index, batch, before)
