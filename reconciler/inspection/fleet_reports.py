"""Try whether this host can read the reports of a fleet, and may push its own; nothing is changed.

What is fetched goes into a store of its own, which is removed afterwards. Whether the server lets this host write that
very reference is known once it does: rules about references are applied to what is really pushed.
"""

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory

from reconciler.manifests.git.objects import CannotFetch, DamagedStore
from reconciler.manifests.git.program import GitProgram
from reconciler.manifests.git.report_store import ReportStore
from reconciler.manifests.git.store import Store
from reconciler.settings.git import GitOrigin


def reports_tried(origin: GitOrigin) -> tuple[int, str]:
    """Return how many reports there are about an origin, and what keeps this host from reporting, "" if nothing does.

    Blocks. Raises OSError if git cannot be run.
    """
    with TemporaryDirectory(prefix="reconciler-git-") as scratch:
        git = GitProgram(Path(scratch))
        git.prepare()
        return asyncio.run(_tried(origin, git, Path(scratch)))


async def _tried(origin: GitOrigin, git: GitProgram, scratch: Path) -> tuple[int, str]:
    store = Store(git, scratch, origin)
    created = await git.create(store.path, memory=origin.repository.most_memory)
    if created.status != 0:
        raise OSError(created.errors)
    reports = ReportStore(git, store, origin, scratch)
    try:
        await reports.fetch()
        there = len(await reports.ids())
    except (CannotFetch, DamagedStore, TimeoutError) as error:
        return 0, f"cannot read the reports: {str(error) or 'it took too long'}"
    if origin.repository.report_sign is None:
        return there, ""
    try:
        await reports.push(origin.host, await reports.blob(), also_as_before=False, only_try=True)
    except (CannotFetch, DamagedStore, TimeoutError) as error:
        return there, f"cannot push reports: {str(error) or 'it took too long'}"
    return there, ""
