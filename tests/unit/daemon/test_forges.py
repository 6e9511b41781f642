"""The request that tells a commit's status, as each git server documents it."""

import json
from pathlib import Path
from typing import Any

import pytest

from reconciler.daemon.statuses.forges import context_of, post_of
from reconciler.planning.origins.commit_status import CommitStatus
from reconciler.settings.git import GitOrigin, Repository
from reconciler.settings.git_statuses import Forge, Statuses

COMMIT = "4f1c1d5c0c2f6a3fdc7c1dbb0d5fd9d4c9a2d7be"
TOKEN = "a-token-of-these-tests"


def posted(
    forge: Forge, state: str = "failure", text: str = "it fails", link: str = "", context: str = "reconciler/web1"
) -> tuple[str, Any, Any]:
    statuses = Statuses(
        forge=forge, api="https://git/api", project="ops/fleet", token=Path("/t"), web="https://git/ops/fleet"
    )
    status = CommitStatus(commit=COMMIT, state=state, text=text)  # type: ignore[arg-type]
    post = post_of(statuses, status, context=context, link=link, token=TOKEN)
    assert TOKEN not in repr(post)
    return post.url, json.loads(post.content), post.headers


@pytest.mark.parametrize(
    ("forge", "path", "body", "header"),
    [
        (
            "github",
            f"/repos/ops/fleet/statuses/{COMMIT}",
            {"state": "failure", "context": "reconciler/web1", "description": "it fails"},
            ("Authorization", f"Bearer {TOKEN}"),
        ),
        (
            "gitlab",
            f"/projects/ops%2Ffleet/statuses/{COMMIT}",
            {"state": "failed", "name": "reconciler/web1", "description": "it fails"},
            ("PRIVATE-TOKEN", TOKEN),
        ),
        (
            "gitea",
            f"/repos/ops/fleet/statuses/{COMMIT}",
            {"state": "failure", "context": "reconciler/web1", "description": "it fails"},
            ("Authorization", f"token {TOKEN}"),
        ),
        (
            "forgejo",
            f"/repos/ops/fleet/statuses/{COMMIT}",
            {"state": "failure", "context": "reconciler/web1", "description": "it fails"},
            ("Authorization", f"token {TOKEN}"),
        ),
        (
            "bitbucket",
            f"/repositories/ops/fleet/commit/{COMMIT}/statuses/build",
            {
                "state": "FAILED", "key": "reconciler/web1", "name": "reconciler/web1", "description": "it fails",
                "url": "https://git/ops/fleet",
            },
            ("Authorization", f"Bearer {TOKEN}"),
        ),
        (
            "bitbucket-data-center",
            f"/commits/{COMMIT}",
            {
                "state": "FAILED", "key": "reconciler/web1", "name": "reconciler/web1", "description": "it fails",
                "url": "https://git/ops/fleet",
            },
            ("Authorization", f"Bearer {TOKEN}"),
        ),
    ],
)  # fmt: skip
def test_each_server_has_its_path_its_words_and_its_header(
    forge: Forge, path: str, body: dict[str, str], header: tuple[str, str]
) -> None:
    url, content, headers = posted(forge)
    assert (url, content) == (f"https://git/api{path}", body)
    assert headers[header[0]] == header[1]


def test_an_error_is_a_failure_where_there_is_none() -> None:
    words = {forge: posted(forge, "error")[1]["state"] for forge in ("github", "gitlab", "gitea", "bitbucket")}
    assert words == {"github": "error", "gitlab": "failed", "gitea": "error", "bitbucket": "FAILED"}


def test_a_long_text_is_one_line_of_what_every_server_takes() -> None:
    text = "fleet/hosts/web1/shop.yaml:7:3: port:\n expected a number; " + "x" * 500
    told = posted("github", text=text)[1]["description"]
    assert len(told) == 140
    assert told.startswith("fleet/hosts/web1/shop.yaml:7:3: port: expected a number; xxx")
    assert told.endswith("x…")


def test_a_page_about_the_host_is_linked_where_there_is_one() -> None:
    assert posted("github", link="https://apps/host")[1]["target_url"] == "https://apps/host"
    assert posted("bitbucket", link="https://apps/host")[1]["url"] == "https://apps/host"
    assert "target_url" not in posted("gitlab")[1]


def test_two_long_names_have_two_keys() -> None:
    hosts = [f"reconciler/storefront-production-eu-central-{number}" for number in (1, 2)]
    keys = [posted("bitbucket", context=host)[1]["key"] for host in hosts]
    assert keys[0] != keys[1]
    assert [len(key) for key in keys] == [40, 40]
    assert posted("bitbucket", context=hosts[0])[1]["key"] == keys[0]
    assert posted("bitbucket", context=hosts[0])[1]["name"] == hosts[0]


def test_a_text_has_no_character_that_a_server_refuses() -> None:
    told = posted("gitlab", text="shop: it printed\0 \x1b[31mred\x1b[0m\udc80\tand\u202e ended")[1]["description"]
    assert told == r"shop: it printed\x00 \x1b[31mred\x1b[0m\udc80 and\u202e ended"


def origin(name: str, repository: str, project: str = "ops/fleet") -> GitOrigin:
    statuses = Statuses(forge="gitea", api="https://git/api", project=project, token=Path("/t"), web="https://git/x")
    of = Repository(name=repository, urls=("/x",), signed="no", statuses=statuses)
    return GitOrigin(name=name, repository=of, branch="main", host="web1")


def test_each_origin_of_a_project_has_a_name_of_its_own() -> None:
    fleet, shops = origin("fleet", "fleet"), origin("shops", "shops", "ops/shops")
    assert context_of(fleet, [fleet, shops]) == "reconciler/web1"
    tagged = origin("tagged", "fleet-by-tags", "Ops/Fleet")
    assert context_of(fleet, [fleet, shops, tagged]) == "reconciler/web1/fleet"
    assert context_of(tagged, [fleet, shops, tagged]) == "reconciler/web1/tagged"
    assert context_of(shops, [fleet, shops, tagged]) == "reconciler/web1"
