"""`reconciler validate --git`: what a commit comes to on a host, without a daemon, a network or a checkout."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from reconciler.cli.main import group
from tests.support.repository import Repository

CODE = {"apps/shop/wsgi.py": "application = 1\n"}
SHOP = {**CODE, "hosts/web1/shop.yaml": "path: ../../apps/shop\n"}


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository.at(tmp_path)


@pytest.fixture
def settings(tmp_path: Path, repository: Repository) -> Path:
    """The settings of the host web1, whose origin takes its manifests from two directories."""
    return settings_with(tmp_path, repository)


def settings_with(tmp_path: Path, repository: Repository, **origin: Any) -> Path:
    file = tmp_path / "host.yaml"
    text = {
        "ports": {"first": 8100, "last": 8199},
        "git": {"repositories": {"fleet": {"url": str(repository.bare), "signed": "no"}}, "host": "web1"},
        "origins": {"fleet": {"repository": "fleet", "branch": "main", "path": ["all", "hosts/{host}"], **origin}},
    }
    file.write_text(yaml.safe_dump(text))
    return file


def validate(tmp_path: Path, *words: str | Path) -> Result:
    given = ("--state", tmp_path / "own", *words)
    return CliRunner().invoke(group, ["validate", *map(str, given)])


def facts(tmp_path: Path, *words: str | Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(validate(tmp_path, "--json", *words).stdout)
    return found


def test_a_commit_is_judged_for_the_host_that_is_named_from_a_clone_or_a_bare_repository(
    tmp_path: Path, repository: Repository, settings: Path
) -> None:
    first = repository.push({**SHOP, "all/blog.yaml": "path: ../apps/shop\n"})
    second = repository.push({"hosts/web2/api.yaml": "path: ../../apps/shop\n"})
    for directory in (repository.bare, repository.work):
        done = validate(tmp_path, "--git", directory, "--settings", settings)
        assert (done.exit_code, done.output) == (
            0, f"{directory}, commit {second[:7]} on web1: 2 files, 2 apps, no problems\n",
        )  # fmt: skip
        found = facts(tmp_path, "--git", directory, "--as", "web2", "--settings", settings)
        assert (found["host"], found["apps"], found["accepted"]) == ("web2", ["api", "blog"], True)
        assert facts(tmp_path, "--git", f"{directory}:HEAD~1", "--settings", settings)["commit"] == first
        assert facts(tmp_path, "--git", f"{directory}:main", "--settings", settings)["paths"] == ["all", "hosts/web1"]


def test_each_error_has_its_place_from_the_top_of_the_repository(
    tmp_path: Path, repository: Repository, settings: Path
) -> None:
    repository.push({**SHOP, "all/blog.yaml": "path: ../apps/shop\nworker: 2\n"})
    done = validate(tmp_path, "--git", repository.bare, "--settings", settings)
    assert done.exit_code == 1
    place, summary = done.output.splitlines()
    assert place.startswith("all/blog.yaml:2:1: worker: ")
    assert summary.endswith("on web1: refused for 1 problem")
    github = validate(tmp_path, "--git", repository.bare, "--settings", settings, "--format", "github")
    assert github.output.startswith("::error file=all/blog.yaml,line=2,col=1::worker: ")
    found = facts(tmp_path, "--git", repository.bare, "--settings", settings)
    assert (found["accepted"], found["apps"]) == (False, [])
    assert (found["problems"][0]["file"], found["problems"][0]["line"]) == ("all/blog.yaml", 2)


def test_without_whole_the_other_manifests_are_accepted_and_the_error_is_one_all_the_same(
    tmp_path: Path, repository: Repository
) -> None:
    repository.push({**SHOP, "all/blog.yaml": "path: ../apps/shop\nworker: 2\n"})
    found = facts(tmp_path, "--git", repository.bare, "--settings", settings_with(tmp_path, repository, whole=False))
    assert (found["accepted"], found["apps"], len(found["problems"])) == (True, ["shop"], 1)
    assert validate(tmp_path, "--git", repository.bare, "--settings", tmp_path / "host.yaml").exit_code == 1


def test_what_is_beyond_the_fence_is_refused_unless_the_settings_allow_it(
    tmp_path: Path, repository: Repository, settings: Path
) -> None:
    repository.push({**SHOP, "hosts/web1/shop.yaml": "path: /srv/shop\nport: 9000\n"})
    done = validate(tmp_path, "--git", repository.bare, "--settings", settings)
    assert [line.split(" ")[0:2] for line in done.output.splitlines()[:2]] == [
        ["hosts/web1/shop.yaml:1:7:", "path:"], ["hosts/web1/shop.yaml:2:7:", "port:"],
    ]  # fmt: skip
    allowed = settings_with(tmp_path, repository, may={"paths": ["/srv"], "ports": [9000]})
    assert facts(tmp_path, "--git", repository.bare, "--settings", allowed)["accepted"]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"all/CON": "x"}, "all/CON:1:1: has a name that stands for a device"),
        ({"apps/shop/data": "version https://git-lfs.github.com/spec/v1\n"}, "apps/shop/data:1:1: is an LFS pointer"),
    ],
)
def test_a_file_that_no_commit_may_have_is_named(
    tmp_path: Path, repository: Repository, settings: Path, files: dict[str, str], said: str
) -> None:
    repository.push({**SHOP, **files})
    done = validate(tmp_path, "--git", repository.bare, "--settings", settings)
    assert done.exit_code == 1
    assert done.output.startswith(said)


def test_a_link_out_of_the_repository_is_refused(tmp_path: Path, repository: Repository, settings: Path) -> None:
    repository.write(SHOP)
    (repository.work / "apps/shop/secret").symlink_to("/etc/shadow")
    repository.push({})
    done = validate(tmp_path, "--git", repository.bare, "--settings", settings)
    assert done.output.startswith("apps/shop/secret:1:1: is a symbolic link to an absolute path")


def test_without_settings_the_manifests_are_at_the_top_or_where_path_says(
    tmp_path: Path, repository: Repository
) -> None:
    repository.push(SHOP)
    none = tmp_path / "none.yaml"
    none.write_text("# nothing\n")
    done = validate(tmp_path, "--git", repository.work, "--settings", none, "--as", "web1")
    assert done.exit_code == 1
    assert "has no manifest in its top; --path names the directories of manifests" in done.output
    where = ("--git", repository.work, "--settings", none, "--as", "web1", "--path", "hosts/{host}")
    found = facts(tmp_path, *where)
    assert (found["apps"], found["paths"], found["origin"]) == (["shop"], ["hosts/web1"], "fleet-work")
    assert validate(tmp_path, *where[:-1], "../x").exit_code == 2


def test_what_a_manifest_names_and_the_commit_lacks_is_a_warning(
    tmp_path: Path, repository: Repository, settings: Path
) -> None:
    repository.write({**CODE, "hosts/web1/shop.yaml": "path: ../../apps/shop\nenv:\n  KEY: {file: ../../key}\n"})
    (repository.work / "apps/linked").symlink_to("shop")
    repository.push({"hosts/web1/blog.yaml": "path: ../../apps/linked\n", "hosts/web1/api.yaml": "path: ../api\n"})
    done = validate(tmp_path, "--git", repository.bare, "--settings", settings)
    assert done.exit_code == 0
    assert done.output.splitlines()[:2] == [
        "hosts/web1/api.yaml:1:7: warning: path: the commit has no 'hosts/api'",
        "hosts/web1/shop.yaml:3:15: warning: env.KEY.file: the commit has no 'key'",
    ]
    assert validate(tmp_path, "--git", repository.bare, "--settings", settings, "--strict").exit_code == 1


def test_what_cannot_be_judged_says_why(tmp_path: Path, repository: Repository, settings: Path) -> None:
    repository.push(SHOP)
    for words, said in (
        ((repository.bare.parent,), "is not the top of a git repository"),
        ((f"{repository.bare}:gone",), "'gone' leads to no commit"),
        ((f"{repository.bare}:--help",), "'--help' leads to no commit"),
        ((repository.bare, "--origin", "x"), "no origin is named 'x'"),
    ):
        done = validate(tmp_path, "--settings", settings, "--git", *words)
        assert (done.exit_code, said in done.output) == (1, True), done.output
    for wrong in (("--as", "web1"), ("--git", repository.bare, "--manifests", tmp_path)):
        assert validate(tmp_path, *wrong).exit_code == 2


def test_several_origins_are_told_apart_by_the_address_of_their_repository_or_by_name(
    tmp_path: Path, repository: Repository
) -> None:
    repository.push(SHOP)
    file = tmp_path / "host.yaml"
    text = {
        "git": {
            "repositories": {
                "fleet": {"url": str(repository.bare), "signed": "no"},
                "other": {"url": "https://git.example.com/x.git", "signed": "no"},
            }
        },
        "origins": {
            "base": {"repository": "other", "branch": "main"},
            "team": {"repository": "fleet", "branch": "main", "path": "hosts/web1"},
        },
    }
    file.write_text(yaml.safe_dump(text))
    assert facts(tmp_path, "--git", repository.bare, "--settings", file)["origin"] == "team"
    done = validate(tmp_path, "--git", repository.work, "--settings", file)
    assert "name one with --origin" in done.output
    assert facts(tmp_path, "--git", repository.work, "--origin", "team", "--settings", file)["apps"] == ["shop"]


def test_nothing_is_written_into_the_repository_or_beside_it(
    tmp_path: Path, repository: Repository, settings: Path
) -> None:
    repository.push(SHOP)
    before = sorted((path, path.lstat().st_mtime_ns) for path in tmp_path.rglob("*"))
    assert validate(tmp_path, "--git", repository.work, "--settings", settings).exit_code == 0
    assert sorted((path, path.lstat().st_mtime_ns) for path in tmp_path.rglob("*")) == before


def test_no_program_of_the_repository_runs(tmp_path: Path, repository: Repository, settings: Path) -> None:
    repository.push({**SHOP, ".gitattributes": "* filter=evil diff=evil\n"})
    canary = tmp_path / "canary"
    for name in ("core.fsmonitor", "filter.evil.smudge", "diff.evil.textconv", "core.pager", "core.sshCommand"):
        repository.git("config", name, f"touch {canary}")
    assert validate(tmp_path, "--git", repository.work, "--settings", settings).exit_code == 0
    assert not canary.exists()
