"""A proxy that is told by a file keeps one that its check accepts, whatever a killed daemon has left."""

import asyncio
import sys
from pathlib import Path

import pytest

from reconciler.routing.admin import ConfigRefused
from reconciler.routing.file_proxy import FileProxy
from reconciler.settings.proxy import ProxyFile

CHECK = "import pathlib, sys; sys.exit('bad' in pathlib.Path(sys.argv[1]).read_text())"


def proxy(directory: Path) -> FileProxy:
    path = directory / "ours.conf"
    file = ProxyFile(format="nginx", path=path, check=(sys.executable, "-c", CHECK, str(path)), reload=("/bin/true",))
    return FileProxy(file, directory / "reloaded")


def test_a_file_that_was_never_checked_is_not_what_a_refused_one_is_replaced_by(tmp_path: Path) -> None:
    async def story() -> None:
        await proxy(tmp_path).configure("good")
        (tmp_path / "ours.conf").write_text("bad, by a daemon that was killed before its check")
        after = proxy(tmp_path)
        assert await after.look() == ""
        with pytest.raises(ConfigRefused):
            await after.configure("bad again")

    asyncio.run(story())
    assert (tmp_path / "ours.conf").read_text() == "good"


def test_a_file_of_an_operator_is_put_back_where_none_was_accepted_yet(tmp_path: Path) -> None:
    (tmp_path / "ours.conf").write_text("theirs")
    with pytest.raises(ConfigRefused):
        asyncio.run(proxy(tmp_path).configure("bad"))
    assert (tmp_path / "ours.conf").read_text() == "theirs"
