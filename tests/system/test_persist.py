"""Data that an app writes beside its code: told before it is lost, kept, and shared by all builds once asked for."""

from pathlib import Path

from tests.support.eventually import eventually
from tests.support.ports import a_port
from tests.support.site import Site, get

COUNTER = """
import os
FILE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "hits.txt")

def application(environ, start_response):
    hits = 1 + (len(open(FILE).read()) if os.path.exists(FILE) else 0)
    with open(FILE, "a") as file:
        file.write("x")
    start_response("200 OK", [])
    return [str(hits).encode()]
"""


def edit(site: Site, number: int) -> None:
    site.save(site.root / "apps" / "blog" / "wsgi.py", f"{COUNTER}\n# {number}\n")


def builds(site: Site) -> set[str]:
    return {path.name for path in site.paths.builds("blog").iterdir() if not path.name.startswith(".")}


def test_files_in_a_build_are_told_kept_and_persisted_on_request(site: Site) -> None:
    port = a_port()
    site.app("blog", port=port, probation="0s")
    edit(site, 0)
    site.live()
    site.await_settled("blog")
    assert [get(port) for _ in range(3)] == ["1", "2", "3"]
    before = builds(site)

    edit(site, 1)
    eventually(lambda: builds(site) - before)
    site.await_settled("blog")
    (build,) = before
    left = f"hits.txt, which it wrote, stayed in build {build}; 'persist: [hits.txt]' in its manifest takes it over"
    eventually(lambda: site.told("blog")["message"] == left)
    assert get(port) == "1"
    (told,) = [text for _, kind, text in site.events() if kind == "data"]
    assert told.startswith("wrote hits.txt into its build, which the next deploy replaces; 'persist: [hits.txt]' in ")
    get(port)

    # Asked for now: what the serving build has grown is the beginning.
    site.manifest("blog", port=port, probation="0s", persist=["hits.txt"])
    site.await_settled("blog")
    eventually(lambda: site.told("blog")["persist"] == ["hits.txt"])
    eventually(lambda: get(port) >= "3")
    seen = int(get(port))
    eventually(lambda: len(site.known_good("blog")) == 3)
    edit(site, 2)
    eventually(lambda: len(builds(site)) > 0 and int(get(port)) > seen)
    site.await_settled("blog")
    assert int(get(port)) > seen

    # The build with the first of these files goes once five later ones are known to be good.
    eventually(lambda: len(site.known_good("blog")) == 4)
    edit(site, 3)
    eventually(lambda: len(site.known_good("blog")) == 5)
    edit(site, 4)
    kept = site.paths.home("blog")
    eventually(lambda: [p.read_text() for p in Path(kept / "from-builds").glob("*/hits.txt")] == ["xxx"])
