"""Write the files of a commit that was accepted to the disk, as a tree beside those of other commits."""

import asyncio
from collections.abc import Collection
from pathlib import Path
from tempfile import TemporaryDirectory

from reconciler.manifests.git.objects import Objects
from reconciler.manifests.git.source_trees import SourceTrees
from reconciler.manifests.git.tree_index import Index
from reconciler.manifests.git.trees import Trees

KEPT = 3


async def materialise(
    index: Index,
    objects: Objects,
    trees: Trees | SourceTrees,
    before: str | None = None,
    kept: Collection[str | None] = (),
) -> None:
    """Write a tree; files that the tree of the commit `before` has are linked.

    Where there are more trees than are to be kept, besides those `kept`, the oldest one is changed into it.

    Raises TooLarge, DamagedStore, OSError.
    """
    with TemporaryDirectory(dir=trees.directory, prefix=".draft-") as scratch:
        asked, batch = Path(scratch, "ids"), Path(scratch, "objects")
        spare = await asyncio.to_thread(trees.spare, index.commit, KEPT, kept) if kept else None
        ids = await asyncio.to_thread(trees.missing, index, before, spare)
        await asyncio.to_thread(asked.write_text, "".join(f"{each}\n" for each in ids))
        await objects.contents(asked, batch)
        await asyncio.to_thread(trees.write, index, batch, before)
