"""`wait` says what is true: after good and bad edits, saved a moment ago, and whatever becomes of the daemon."""

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import yaml

from reconciler.linux.unix_sockets import reachable
from tests.support.eventually import eventually
from tests.support.site import REPOSITORY, Site, get
from tests.support.wait_stories import BAD, GOOD, Story, stories

NIGHTLY = os.environ.get("RECONCILER_TESTS") == "nightly"
STORIES = int(os.environ.get("RECONCILER_STORIES", "200" if NIGHTLY else "4"))


def beginning(site: Site, *words: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        site.command("wait", *words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=REPOSITORY
    )


def live(site: Site) -> Any:
    """Start the daemon, and return it once it can be asked."""
    daemon = site.live()
    until_it_can_be_asked(site)
    return daemon


def until_it_can_be_asked(site: Site) -> None:
    def answers() -> bool:
        with reachable(site.paths.control) as name, socket.socket(socket.AF_UNIX) as client:
            client.connect(name)
        return True

    eventually(answers)


def told(process: "subprocess.Popen[str]") -> tuple[int, str]:
    output, errors = process.communicate(timeout=120)
    return process.returncode, output + errors


def test_what_was_saved_a_moment_ago_is_waited_for(site: Site) -> None:
    port = site.app("blog", "0", probation="100ms")
    live(site)
    for version in ("1", "2", "3", "4"):
        site.source("blog", version)
        done = site.cli("wait", "blog")
        assert (done.returncode, get(port)) == (0, version), done.stdout + done.stderr
        site.manifest("blog", port=port, probation="100ms", env={"V": version})
        done = site.cli("wait", "b*")
        assert (done.returncode, json.loads(get(port, "/env"))["V"]) == (0, version), done.stdout + done.stderr


def test_the_reasons_are_on_one_line_of_json_for_each_app(site: Site) -> None:
    site.app("blog", probation="0s")
    site.app("shop", probation="0s")
    live(site)
    assert site.cli("wait").stdout.endswith("2 apps, all up to date\n")
    site.save(site.manifests / "shop.yaml", "path: ../apps/shop\nworkes: 2\n")
    done = site.cli("wait", "--json")
    blog, shop = map(json.loads, done.stdout.splitlines())
    assert done.returncode == 1
    assert (blog["name"], blog["up_to_date"], blog["outcome"]) == ("blog", True, "up-to-date")
    assert (shop["up_to_date"], shop["outcome"], shop["state"]) == (False, "refused", "running")
    assert [(error["line"], error["path"]) for error in shop["errors"]] == [(2, "workes")]
    assert site.cli("wait", "blog").returncode == 0


def test_an_operators_request_is_not_what_the_manifest_asks_for(site: Site) -> None:
    site.app("blog", probation="0s")
    live(site)
    assert site.cli("wait").returncode == 0
    assert site.cli("status", "--check").returncode == 0
    site.cli("stop", "blog")
    done = site.cli("wait")
    assert done.returncode == 1
    assert ": stopped by an operator" in done.stderr
    assert "'reconciler start blog' resumes it" in done.stderr
    checked = site.cli("status", "--check")
    assert (checked.returncode, "blog (stopped by an operator)" in checked.stderr) == (1, True)
    site.cli("start", "blog")
    assert site.cli("wait").returncode == 0
    site.manifest("blog", state="stopped")
    assert site.cli("wait").returncode == 0
    eventually(lambda: site.cli("status", "--check").returncode == 0)


def test_a_wait_for_what_is_missing_ends_when_its_time_is_over_and_says_what(site: Site) -> None:
    site.app("blog", probation="0s", env={"KEY": {"file": "key"}})
    live(site)
    eventually(
        lambda: site.told("blog")["state"] == "pending" and any(kind == "staged" for _, kind, _ in site.events())
    )
    done = site.cli("wait", "--timeout", "1s")
    assert done.returncode == 1
    assert "not up to date after 1s:\n  blog: pending: waiting: " in done.stderr
    waiting = beginning(site, "--timeout", "60s")
    site.save(site.manifests / "key", "secret")
    code, output = told(waiting)
    assert (code, output.endswith("1 app, all up to date\n")) == (0, True), output


def test_names_that_match_nothing_are_an_error(site: Site) -> None:
    site.app("blog")
    live(site)
    done = site.cli("wait", "blgo", "x*", "blog")
    assert done.returncode == 1
    assert done.stderr == "Error: no app named 'blgo'; did you mean 'blog'?; no app matches 'x*'\n"


def test_with_keep_trying_a_failure_is_not_the_end(site: Site) -> None:
    port = site.app("blog", probation="100ms")
    source = site.source("blog", "1") / "wsgi.py"
    site.save(source, f"raise RuntimeError('boom')\n{source.read_text()}")
    live(site)
    assert "RuntimeError: boom" in site.cli("wait").stderr
    waiting = beginning(site, "--keep-trying")
    site.source("blog", "2")
    code, output = told(waiting)
    assert (code, get(port)) == (0, "2"), output


def test_without_a_daemon_it_exits_with_3_and_one_that_comes_back_is_waited_for(site: Site) -> None:
    assert site.cli("wait").returncode == 3
    site.app("blog", env={"KEY": {"file": "key"}}, probation="0s")
    daemon = live(site)
    waiting = beginning(site, "--timeout", "60s")
    assert waiting.stdout is not None
    assert "blog" in waiting.stdout.readline()  # the daemon has told it of the app
    site.end(daemon, signal.SIGKILL)
    done = site.cli("wait")
    assert (done.returncode, done.stderr.startswith("Error: no daemon is running in ")) == (3, True)
    assert site.cli("restart", "blog").returncode == 3
    site.save(site.manifests / "key", "secret")
    live(site)
    code, output = told(waiting)
    assert code == 0, output
    site.end(site.daemons[-1])
    checked = site.cli("status", "--check")
    assert (checked.returncode, "no daemon is running" in checked.stderr) == (3, True)


def test_apply_waits_for_the_daemon_that_is_running(site: Site) -> None:
    port = site.app("blog", probation="100ms")
    daemon = live(site)
    site.source("blog", "2")
    done = site.cli("apply")
    assert (done.returncode, get(port)) == (0, "2"), done.stdout + done.stderr
    assert f"the daemon (pid {daemon.pid}) applies the manifests; waiting for it\n" in done.stdout
    source = site.root / "apps" / "blog" / "wsgi.py"
    site.save(source, f"raise RuntimeError('boom')\n{source.read_text()}")
    done = site.cli("apply")
    assert (done.returncode, "RuntimeError: boom" in done.stderr) == (1, True)
    elsewhere = subprocess.run(
        [*site.command("apply")[:4], "--manifests", str(site.root), "--state", str(site.state)],
        capture_output=True, text=True, cwd=REPOSITORY, check=False,
    )  # fmt: skip
    assert elsewhere.returncode == 1
    assert f"applies the manifests in {site.manifests}, not those in {site.root}" in elsewhere.stderr


def test_apply_says_the_same_with_a_daemon_and_without(site: Site) -> None:
    for name in ("blog", "shop"):
        site.app(name, probation="0s")
    daemon = live(site)
    assert site.cli("wait").returncode == 0
    assert site.cli("stop", "blog").returncode == 0
    eventually(lambda: site.told("blog")["state"] == "stopped")
    site.save(site.manifests / "bad.yaml", "name: one\npath: x\n---\nname: two\npth: x\n")
    site.save(site.manifests / "db.yaml", "kind: service\nname: cache\ntype: redsi\n")
    outcomes, reasons = [], set()
    for running in (True, False):
        if not running:
            site.end(daemon)
        done = site.cli("apply", "--json")
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        assert all(set(row) == set(rows[0]) for row in rows)
        error = json.loads(done.stderr.splitlines()[-1])["error"]
        assert (done.returncode, error["reason"]) == (1, "not-up-to-date")
        assert site.cli("apply").returncode == 1
        reasons |= {row["reason"] for row in rows if row["outcome"] == "refused"}
        outcomes.append({row["name"]: (row["kind"], row["outcome"], row["up_to_date"], row["state"]) for row in rows})
    assert outcomes[0] == outcomes[1]
    assert reasons == {"manifest-refused"}
    assert {name: row[:2] for name, row in outcomes[0].items()} == {
        "blog": ("app", "held"), "shop": ("app", "up-to-date"),
        "one": ("app", "refused"), "two": ("app", "refused"), "cache": ("service", "refused"),
    }  # fmt: skip


def test_the_exit_code_is_the_truth_in_random_stories(site: Site) -> None:
    """Half of the edits are bad, and the daemon is killed before, meanwhile, twice or for good."""
    seed = int(os.environ.get("RECONCILER_SEED", "4711"))
    port = site.app("blog", "0", probation="500ms")
    daemon = live(site)
    assert site.cli("wait").returncode == 0
    for number, story in enumerate(stories(seed, STORIES), 1):
        daemon = _told(site, daemon, story, number, port)
        GOOD[0].save(site, "blog", f"mended-{number}")
        _set_port(site, port)
        done = site.cli("wait")
        assert (done.returncode, get(port)) == (0, f"mended-{number}"), f"after {number} {story}: {done.stderr}"


def _told(site: Site, daemon: Any, story: Story, number: int, port: int) -> Any:
    """Let a story happen, and compare the exit code with what is true; returns the daemon, which can be asked then."""
    if story.fate == "killed before":
        site.end(daemon, signal.SIGKILL)
        daemon = live(site)
    story.edit.save(site, "blog", str(number))
    if story.edit.text is None and "port" not in (story.edit.fields or {}):
        _set_port(site, port)
    waiting = beginning(site, "--timeout", "4s" if story.fate == "killed for good" else "60s")
    time.sleep(story.after_s)
    for _ in range({"killed meanwhile": 1, "killed twice": 2}.get(story.fate, 0)):
        site.end(daemon, signal.SIGKILL)
        daemon = site.live()
        time.sleep(story.after_s)
    if story.fate == "killed for good":
        site.end(daemon, signal.SIGKILL)
    code, output = told(waiting)
    if code == 3 and story.fate in {"killed meanwhile", "killed twice"}:
        # A slow host: it asked for the first time between the end of one daemon and the start of the next.
        assert "of waiting" not in output, f"story {number}, {story}: {output}"
        until_it_can_be_asked(site)
        code, output = told(beginning(site, "--timeout", "60s"))
    _compare(code, output, story, partial(get, port), number)
    if story.fate == "killed for good":
        daemon = site.live()
    until_it_can_be_asked(site)  # its `wait` may have ended with the daemon before
    return daemon


def _compare(code: int, output: str, story: Story, served: Callable[[], str], number: int) -> None:
    said = f"story {number}, {story}: exit code {code}\n{output}"
    if code == 3:
        assert story.fate == "killed for good", said
        assert "no daemon is running in " in output, said
        return
    # One that is killed for good may have been asked before that: then its answer is the truth, too.
    assert code == (1 if story.edit.told else 0), said
    if story.edit.told:
        assert story.edit.told in output, said
    else:
        assert served() == str(number), said


def _set_port(site: Site, port: int) -> None:
    file = site.manifests / "blog.yaml"
    site.save(file, yaml.safe_dump({**yaml.safe_load(file.read_text()), "port": port}))


@pytest.mark.parametrize("seed", [1, 2])
def test_the_stories_cover_good_and_bad_edits_and_every_fate(seed: int) -> None:
    told_ = stories(seed, 200)
    assert {story.fate for story in told_} == {
        "lives", "killed before", "killed meanwhile", "killed for good", "killed twice",
    }  # fmt: skip
    assert len({story.edit.name for story in told_}) == len(GOOD) + len(BAD)


def test_requests_take_patterns_and_all_and_say_what_became_of_each_app(site: Site) -> None:
    for name in ("shop-web", "shop-api", "blog"):
        site.app(name, probation="0s")
    live(site)
    assert site.cli("wait").returncode == 0
    done = site.cli("stop", "shop-*")
    assert (done.returncode, [line.split(":")[0] for line in done.stdout.splitlines()]) == (0, ["shop-api", "shop-web"])
    done = site.cli("start", "--all", "--json")
    assert [json.loads(line)["app"] for line in done.stdout.splitlines()] == ["blog", "shop-api", "shop-web"]
    done = site.cli("restart", "blgo", "blog", "--json")
    wrong, right = map(json.loads, done.stdout.splitlines())
    assert (done.returncode, wrong["error"]["reason"], right["error"]) == (1, "not-found", None)
    assert wrong["error"]["message"].endswith("did you mean 'blog'?")
    done = site.cli("restart", "blg*")
    assert (done.returncode, done.stderr) == (1, "Error: no app matches 'blg*'; did you mean 'blog'?\n")
    assert site.cli("restart").returncode == 2
    assert site.cli("restart", "blog", "--all").returncode == 2
    listed = site.cli("status", "shop-*")
    assert (listed.returncode, "blog" in listed.stdout, "shop-api" in listed.stdout) == (0, False, True)
    assert site.cli("status", "x*").returncode == 1


def test_a_source_that_an_app_comes_back_to_is_read_again(site: Site) -> None:
    port = site.app("blog", "1", probation="0s")
    live(site)
    assert site.cli("wait").returncode == 0
    site.manifest("blog", port=port, path="../apps/nope", probation="0s")
    assert "cannot read the source" in site.cli("wait").stderr
    site.source("blog", "2")
    site.manifest("blog", port=port, probation="0s")
    assert (site.cli("wait").returncode, get(port)) == (0, "2")
