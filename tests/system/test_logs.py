"""What an app prints is in its log once, whatever is done to the file meanwhile."""

import re
from collections import defaultdict
from pathlib import Path

from tests.support.eventually import eventually
from tests.support.life import Cues
from tests.support.site import Site, get

NUMBERING = """\
import itertools, os, sys, threading, time

def count():
    for number in itertools.count():
        sys.stdout.write(f"line {os.getpid()} {number} of it\\n")  # print() writes the end of a line by itself
        time.sleep(0.0005)

threading.Thread(target=count, daemon=True).start()

"""


def test_a_writer_that_numbers_its_lines_loses_none_and_doubles_none_while_its_log_is_rotated(site: Site) -> None:
    port = site.app("blog", workers=2)
    program = site.root / "apps" / "blog" / "wsgi.py"
    site.save(program, NUMBERING + program.read_text())
    site.live(Cues(rotate_every_s=0.05), log_limit_bytes=4000, logs_kept=1000)
    eventually(site.serves("blog", "1", port))
    log = site.paths.log("blog", "app")
    eventually(lambda: len(list(log.parent.glob("app.log.*"))) >= 20)
    site.app("blog", port=port, workers=2, state="stopped")
    eventually(lambda: site.told("blog")["state"] == "stopped")
    found = numbers(log)
    assert len(found) == 2
    for writer, seen in found.items():
        assert sorted(seen) == list(range(len(seen))), f"worker {writer}"
        assert len(seen) > 100


def numbers(log: Path) -> dict[str, list[int]]:
    """The numbers of the lines, by who wrote them."""
    found: dict[str, list[int]] = defaultdict(list)
    for file in log.parent.glob("app.log*"):
        for writer, number in re.findall(r"line (\d+) (\d+) of it\n", file.read_text()):
            found[writer].append(int(number))
    return found


def test_the_access_log_is_kept_as_the_manifest_says(site: Site) -> None:
    port = site.app("blog", access_log=False)
    site.live()
    eventually(site.serves("blog", "1", port))
    log = site.paths.log("blog", "access")
    assert not log.exists()
    before = site.pid("blog")
    site.app("blog", port=port, access_log=True)
    site.await_successor("blog", before)
    get(port, "/?told")
    eventually(lambda: "GET /?told" in log.read_text())
    before = site.pid("blog")
    site.app("blog", port=port, access_log=False)
    site.await_successor("blog", before)
    written = log.read_text()
    get(port, "/?untold")
    assert log.read_text() == written
