"""An environment store made once per test run and handed to every state directory, so that staging installs nothing."""

import asyncio
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from reconciler.host.staging_settings import stager_of
from reconciler.planning.apps.revision import Build, Recipe, Source
from reconciler.settings.settings import Settings
from reconciler.staging.source.snapshot import fingerprint
from reconciler.state.paths import StatePaths

HELLO = "def application(environ, start_response):\n    start_response('200 OK', [])\n    return [b'hello']\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """Finished environments and an installer's cache, in one directory."""

    directory: Path

    def hand_over(self, state: Path) -> None:
        """Give a new state directory all of it: the cache by a link, environments as hard links where that can be."""
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        (state / "cache").symlink_to(self.directory / "state" / "cache")
        for finished in (self.directory / "state" / "environments").glob("*/finished.json"):
            _copy(finished.parent, state / "environments" / finished.parent.name)


def warm(directory: Path) -> Store:
    """Make the environment of an app without dependencies; needs a package index."""
    source = directory / "hello"
    source.mkdir(parents=True)
    (source / "wsgi.py").write_text(HELLO)
    settings = Settings(manifests=directory, paths=StatePaths(state=directory / "state"))
    build = Build(source=Source(path=str(source)), recipe=Recipe(), content=fingerprint(str(source)))

    async def stage() -> None:
        await stager_of(settings).stage(
            "hello", build, directory / "staging.log", lambda _: None, kept=directory / "kept"
        )

    asyncio.run(stage())
    return Store(directory=directory)


def _copy(environment: Path, copy: Path) -> None:
    """A virtual environment names its own path in one record only, as far as running it by its python goes."""
    shutil.copytree(environment, copy, copy_function=_link, symlinks=True)
    record = copy / "finished.json"
    told = json.loads(record.read_text().replace(str(environment), str(copy)))
    record.unlink()
    record.write_text(json.dumps(told))


def _link(file: str, link: str) -> None:
    try:
        os.link(file, link, follow_symlinks=False)
    except OSError:  # another file system
        shutil.copy2(file, link, follow_symlinks=False)
