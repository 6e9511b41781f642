"""A trial branch served by a real daemon: while it exists, across the daemon's own death, and no longer."""

import yaml

from tests.support.eventually import eventually
from tests.support.load import under_load
from tests.support.ports import a_port
from tests.support.repository import Repository
from tests.support.site import Site, get
from tests.system.test_git import app, origin, settings


def test_a_trial_is_served_while_its_branch_exists_and_no_request_is_refused(site: Site) -> None:
    port, repository = a_port(), Repository.at(site.root)
    base = repository.push(app("shop", "1"))
    file = settings(site, repository, port)
    written = yaml.safe_load(file.read_text())
    written["origins"]["fleet"]["trial"] = "try/{host}"
    file.write_text(yaml.safe_dump(written))
    daemon = site.start("--settings", str(file))
    eventually(site.serves("shop", "1", port), 60)
    eventually(lambda: origin(site)["good"] == base, 60)
    with under_load(port) as load:
        repository.git("checkout", "-q", "--detach")
        tried = repository.commit(app("shop", "2"), "Answer 2")
        repository.git("push", "-q", "origin", "HEAD:refs/heads/try/web1")
        eventually(site.serves("shop", "2", port), 60)
        waited = site.cli("git", "pull", "--wait")
        assert waited.stdout.endswith(f"fleet: commit {tried[:7]} is on trial, and its apps are up to date\n"), waited
        found = origin(site)
        assert (found["state"], found["in_force"], found["accepted"]) == ("trial", tried, base)
        assert f"fleet   trial  {tried[:7]}   {base[:7]}" in site.cli("status").stdout
        daemon.kill()
        daemon.wait()
        repository.git("push", "-q", "origin", "--delete", "try/web1")
        assert get(port) == "2"
        site.start("--settings", str(file))
        eventually(site.serves("shop", "1", port), 60)
        load.await_more(5)
    assert load.failed == {}
    eventually(lambda: (origin(site)["state"], origin(site)["in_force"]) == ("current", base), 60)
