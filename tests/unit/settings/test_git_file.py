"""The repositories and origins of a settings file: every mistake is told with its place."""

from pathlib import Path

import pytest

from reconciler.settings.file import parse
from reconciler.settings.git import GitOrigin, Repository
from reconciler.settings.git_statuses import Forge, Statuses, api_of, project_of
from reconciler.settings.settings import Settings
from reconciler.state.paths import StatePaths

DEFAULTS = Settings(manifests=Path("/m"), paths=StatePaths(state=Path("/s")))
FORMS = "expected ssh://, https://, user@host:path, or an absolute path"


def problems(text: str) -> list[str]:
    return [str(problem) for problem in parse("/h.yaml", text.encode(), DEFAULTS).problems]


def repository(fields: str, more: str = "") -> str:
    return f"git: {{repositories: {{fleet: {{{fields}}}{more}}}}}\n"


def test_every_setting_reaches_its_origin() -> None:
    text = """
git:
  repositories:
    fleet:
      url: ssh://git@git.example.com/ops/fleet.git
      key: {file: fleet-key}
      known_hosts: {file: /etc/known}
      mirrors: [https://mirror.example.com/fleet.git]
      user: reader
      token: {file: token}
      ca: ca.pem
      client: {certificate: web1.pem, key: {file: web1.key}}
      every: 5m
      timeout: 30s
      size: 1M
      file_size: 10K
      files: 12
      stale_after: 2h
      signed: every
      signers: {file: signers}
      first: 4f1c1d5c0c2f6a3fdc7c1dbb0d5fd9d4c9a2d7be
      fsck: [zeroPaddedFilemode]
      webhook: {secret: {file: hook}}
      statuses: {forge: forgejo, token: {file: statuses-token}}
  host: web1
api: {address: 127.0.0.1:9000, token: {file: api-token}}
origins:
  fleet: {repository: fleet, branch: main, path: [all/, "hosts/{host}"], whole: false, may: {apps: shop-*}}
"""
    found = parse("/etc/host.yaml", text.encode(), DEFAULTS)
    assert found.problems == ()
    assert found.applied(DEFAULTS).origins == (
        GitOrigin(
            name="fleet",
            repository=Repository(
                name="fleet",
                urls=("ssh://git@git.example.com/ops/fleet.git", "https://mirror.example.com/fleet.git"),
                key=Path("/etc/fleet-key"),
                known_hosts=Path("/etc/known"),
                user="reader",
                token=Path("/etc/token"),
                ca=Path("/etc/ca.pem"),
                client_certificate=Path("/etc/web1.pem"),
                client_key=Path("/etc/web1.key"),
                every_s=300,
                timeout_s=30,
                stale_after_s=7200,
                largest_store=2**20,
                largest_file=10 * 2**10,
                most_files=12,
                signers=Path("/etc/signers"),
                signed="every",
                first="4f1c1d5c0c2f6a3fdc7c1dbb0d5fd9d4c9a2d7be",
                fsck=("zeroPaddedFilemode",),
                webhook=Path("/etc/hook"),
                statuses=Statuses(
                    forge="forgejo",
                    api="https://git.example.com/api/v1",
                    project="ops/fleet",
                    token=Path("/etc/statuses-token"),
                    web="https://git.example.com/ops/fleet",
                ),
            ),
            branch="main",
            host="web1",
            paths=("all", "hosts/web1"),
            whole=False,
            may={"apps": "shop-*"},
        ),
    )


@pytest.mark.parametrize(
    "url",
    [
        "https://g.example.com/x.git",
        "https://g.example.com:8443/x",
        "ssh://git@g/x",
        "git@g.example.com:ops/x",
        "/x.git",
    ],
)
def test_an_address_is_https_or_ssh_or_a_path(url: str) -> None:
    keys = ", key: {file: k}, known_hosts: {file: h}" if "@" in url else ""
    assert problems(repository(f'url: "{url}", signed: no{keys}')) == []


@pytest.mark.parametrize(
    "url",
    [
        *(
            "http://g/x",
            "git://g/x",
            "file:///x",
            "ext::sh -c id",
            "-x",
            "x.git",
            "https:///x",
            "ssh://-oProxyCommand=x/y",
        ),
        *("https://g/x?y", "https://g/x#y", "https://g/é", "https://g /x", "ssh://-x@g/y", "https://g:port/x"),
    ],
)
def test_any_other_address_is_refused(url: str) -> None:
    (told,) = problems(repository(f'url: "{url}", signed: no, key: {{file: k}}, known_hosts: {{file: h}}'))
    assert told.startswith(f"/h.yaml:1:35: git.repositories.fleet.url: {FORMS}")


@pytest.mark.parametrize("url", ["https://me:secret@g/x", "https://me@g/x", "ssh://me:secret@g/x"])
def test_credentials_in_an_address_are_refused_and_not_repeated(url: str) -> None:
    (told,) = problems(repository(f'url: "{url}", signed: no, key: {{file: k}}, known_hosts: {{file: h}}'))
    assert "contains credentials" in told
    assert "secret" not in told


NEEDS_SIGNED = "git.repositories.fleet: requires 'signed': 'every', 'head' or 'tag' together with 'signers', or 'no'"
NEEDS_SIGNERS = "git.repositories.fleet.signed: requires 'signers', the file of the keys that may sign"
IS_NO = (
    "git.repositories.fleet.signed: is 'no', but 'signers' names keys: say 'every', 'head' or 'tag', or leave them out"
)
PINNED = "git.repositories.fleet.url: requires 'known_hosts' for ssh: the keys of its hosts are pinned, none is learnt"
NO_REPOSITORY = "origins.a.repository: no repository is named 'b'; 'git.repositories' has none"
SSH_KEYS = "key: {file: k}, known_hosts: {file: h}"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (repository("url: /x"), f"1:29: {NEEDS_SIGNED}"),
        (repository("url: /x, signed: every"), f"1:47: {NEEDS_SIGNERS}"),
        (repository("url: /x, signed: no, signers: {file: s}"), f"1:47: {IS_NO}"),
        (repository("url: https://g/x, signed: no, token: {file: t}"), None),
        (
            repository(f"url: git@g:x, signed: no, token: {{file: t}}, {SSH_KEYS}"),
            "1:63: git.repositories.fleet.token: is for https:// only",
        ),
        (repository("url: ssh://g/x, signed: no, key: {file: k}"), f"1:35: {PINNED}"),
        (
            repository("url: /x, signed: no, every: 10ms"),
            "1:58: git.repositories.fleet.every: must be at least 1s",
        ),
        (
            repository("url: /x, signed: no, webhook: {secret: {file: s}}"),
            "1:60: git.repositories.fleet.webhook: requires 'api.address', at which the git server calls it",
        ),
        ("origins: {a: {repository: b, branch: main}}\n", f"1:27: {NO_REPOSITORY}"),
    ],
)
def test_a_mistake_is_told_with_its_place(text: str, told: str | None) -> None:
    assert [each.removeprefix("/h.yaml:") for each in problems(text)] == ([] if told is None else [told])


@pytest.mark.parametrize("branch", ["HEAD", "-x", "a..b", "/x", "x/", "x.lock", "a b", "x@{1}", ".x", "refs//x", "a~1"])
def test_what_is_no_branch_is_refused(branch: str) -> None:
    text = f'{repository("url: /x, signed: no")}origins: {{a: {{repository: fleet, branch: "{branch}"}}}}\n'
    (told,) = problems(text)
    assert "origins.a.branch: expected the name of a branch" in told


@pytest.mark.parametrize("path", ["../x", "/x", "x/../y", ".."])
def test_a_path_stays_in_the_repository(path: str) -> None:
    text = f'{repository("url: /x, signed: no")}origins: {{a: {{repository: fleet, branch: m, path: "{path}"}}}}\n'
    (told,) = problems(text)
    assert "origins.a.path: expected a directory of the repository" in told


def test_a_host_without_git_imports_nothing_of_it() -> None:
    found = parse("/h.yaml", b"ports: {first: 8000}\n", DEFAULTS)
    assert found.applied(DEFAULTS).origins == ()


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ("repository: fleet", "and has none"),
        ("repository: fleet, branch: main, tags: v*", "not branch and tags"),
        (f"repository: fleet, tags: v*, commit: {'a' * 40}", "not tags and commit"),
    ],
)
def test_an_origin_follows_a_branch_or_tags_or_is_one_commit(fields: str, told: str) -> None:
    found = problems(repository("url: /srv/fleet.git, signed: no") + f"origins: {{a: {{{fields}}}}}\n")
    assert found == [f"/h.yaml:2:14: origins.a: requires one of 'branch', 'tags' and 'commit', {told}"]


def test_a_repository_whose_tags_are_signed_is_followed_by_its_tags() -> None:
    text = repository("url: /srv/fleet.git, signed: tag, signers: {file: signers}")
    found = problems(f"{text}origins: {{a: {{repository: fleet, branch: main}}}}\n")
    assert found == ["/h.yaml:2:14: origins.a: requires 'tags', as the repository 'fleet' has 'signed: tag'"]
    given = parse("/h.yaml", f"{text}origins: {{a: {{repository: fleet, tags: prod-*}}}}\n".encode(), DEFAULTS)
    (origin,) = given.applied(DEFAULTS).origins
    assert (origin.tags, origin.branch, origin.commit, origin.repository.signed) == ("prod-*", "", "", "tag")


@pytest.mark.parametrize("tags", ["*-*", "-x*", "a..b", "refs//x", "a~*", "x.lock"])
def test_a_pattern_of_tags_has_one_star_and_is_a_name_otherwise(tags: str) -> None:
    text = repository("url: /srv/fleet.git, signed: no")
    found = problems(f"{text}origins: {{a: {{repository: fleet, tags: '{tags}'}}}}\n")
    assert "origins.a.tags: expected the name of a tag, with a '*' for its version" in found[0]


def test_what_opens_encrypted_files_is_read_without_any_repository() -> None:
    text = """
git:
  identities: [{file: age.txt}, {file: /run/keys/old}]
  recipients: [age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p, ssh-ed25519 AAAAC3Nz web1]
  open: [/usr/bin/sops, decrypt]
"""
    found = parse("/etc/host.yaml", text.encode(), DEFAULTS)
    assert found.problems == ()
    settings = found.applied(DEFAULTS)
    assert settings.identities == (Path("/etc/age.txt"), Path("/run/keys/old"))
    assert len(settings.recipients) == 2
    assert settings.open_command == ("/usr/bin/sops", "decrypt")
    assert problems("git: {recipients: [hunter2]}") == [
        "/h.yaml:1:20: git.recipients[0]: expected age1… or a public key of ssh (ed25519 or rsa), not this text"
    ]
    assert settings.unopened == ()
    closed = repository("url: /srv/fleet.git, signed: no") + (
        "origins: {fleet: {repository: fleet, branch: main, may: {secrets: false}}}"
    )
    assert parse("/h.yaml", closed.encode(), DEFAULTS).applied(DEFAULTS).unopened == (Path("/s/origins/fleet"),)


@pytest.mark.parametrize(
    ("forge", "given", "url", "api"),
    [
        ("github", None, "https://github.com/ops/fleet.git", "https://api.github.com"),
        ("github", None, "git@github.com:ops/fleet.git", "https://api.github.com"),
        ("github", None, "https://GitHub.com:443/ops/fleet.git", "https://api.github.com"),
        ("gitea", None, "https://git.example.com:3000/ops/fleet", "https://git.example.com:3000/api/v1"),
        ("gitea", None, "ssh://git@git.example.com:2222/ops/fleet", "https://git.example.com/api/v1"),
        ("gitea", None, "ssh://git@[2001:db8::1]:22/ops/fleet", "https://[2001:db8::1]/api/v1"),
        ("github", "https://api.github.com", "/srv/fleet.git", "https://api.github.com"),
        ("github", None, "https://ghe.example.com/ops/fleet", "https://ghe.example.com/api/v3"),
        ("gitlab", None, "ssh://git@gitlab.com:22/ops/fleet.git", "https://gitlab.com/api/v4"),
        ("gitea", "https://git.example.com:8443/", "/srv/fleet.git", "https://git.example.com:8443/api/v1"),
        ("forgejo", "https://git.example.com/forge/api/v1", "/srv/fleet.git", "https://git.example.com/forge/api/v1"),
        ("bitbucket", None, "git@bitbucket.org:ops/fleet.git", "https://api.bitbucket.org/2.0"),
        ("bitbucket-data-center", "https://bb", "/srv/fleet.git", "https://bb/rest/build-status/1.0"),
    ],
)
def test_the_api_of_a_git_server_is_at_its_usual_place_unless_it_is_given(
    forge: Forge, given: str | None, url: str, api: str
) -> None:
    assert api_of(forge, given, url) == api


def test_the_project_is_that_of_the_url_unless_it_is_given() -> None:
    assert project_of(None, "https://gitlab.com/ops/web/fleet.git") == "ops/web/fleet"
    assert project_of(None, "git@github.com:ops/fleet.git") == "ops/fleet"
    assert project_of("ops/fleet", "/srv/fleet.git") == "ops/fleet"
    assert project_of(None, "https://git.example.com/ops/the%20fleet.git") == "ops/the fleet"


def test_the_page_of_a_project_is_at_the_server_of_the_url() -> None:
    text = repository(
        "url: https://git.example.com:8443/ops/the%20fleet.git, signed: no, statuses: {forge: gitea, token: {file: t}}"
    )
    found = parse("/h.yaml", text.encode(), DEFAULTS)
    assert found.problems == ()
    statuses = found.applied(DEFAULTS).repositories["fleet"].statuses
    assert statuses is not None
    assert (statuses.api, statuses.project) == ("https://git.example.com:8443/api/v1", "ops/the fleet")
    assert statuses.web == "https://git.example.com:8443/ops/the%20fleet"


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ("forge: gitea, project: a/b, token: {file: t}", "statuses: requires 'api', as 'url' names no git server"),
        ("forge: gitea, api: https://g, token: {file: t}", "statuses: requires 'project', as 'url' does not tell it"),
        ("forge: gitea, api: http://g, project: a/b, token: {file: t}", "statuses.api: expected an address such as"),
        ("forge: gitea, api: https://me:secret@g, project: a/b, token: {file: t}", "statuses.api: contains credent"),
        ("forge: gitea, api: https://g/?x, project: a/b, token: {file: t}", "statuses.api: expected an address"),
        ("forge: gogs, token: {file: t}", "statuses.forge: expected github, gitlab"),
    ],
)
def test_where_statuses_are_told_is_checked_with_the_settings(fields: str, told: str) -> None:
    (found,) = problems(repository(f"url: /srv/fleet.git, signed: no, statuses: {{{fields}}}"))
    assert f"git.repositories.fleet.{told}" in found
    assert "secret" not in found


def test_how_a_host_reports_to_its_fleet_is_read_with_the_repository() -> None:
    report = "report: {sign: {file: host-key}, token: {file: /etc/push}, refs: refs/tags/reports/}"
    text = repository(f"url: https://x/y, signed: no, {report}") + "origins: {a: {repository: fleet, branch: main}}\n"
    (origin,) = parse("/etc/host.yaml", text.encode(), DEFAULTS).applied(DEFAULTS).origins
    found = origin.repository
    assert (found.report_sign, found.report_token) == (Path("/etc/host-key"), Path("/etc/push"))
    assert (found.report_key, found.report_refs) == (None, "refs/tags/reports/")


def test_reports_may_be_in_another_repository_which_has_an_address_and_a_key_of_its_own() -> None:
    notes = ", notes: {url: https://n/notes.git, signed: no, token: {file: /etc/notes}}"
    text = repository("url: https://x/y, signed: no, report: {sign: {file: host-key}, to: notes}", notes)
    text += "origins: {a: {repository: fleet, branch: main}}\n"
    (origin,) = parse("/etc/host.yaml", text.encode(), DEFAULTS).applied(DEFAULTS).origins
    assert origin.repository.report_to is not None
    assert origin.repository.of_reports.urls == ("https://n/notes.git",)
    assert origin.repository.of_reports.token == Path("/etc/notes")


@pytest.mark.parametrize(
    ("report", "told"),
    [
        ("{sign: {file: k}, to: note}", "report.to: no repository is named 'note'; did you mean 'notes'?"),
        ("{sign: {file: k}, to: fleet}", "report.to: is this very repository: leave 'to' out"),
        ("{sign: {file: k}, to: ''}", "report.to: expected the name of another repository of git.repositories"),
        ("{to: notes, token: {file: t}}", "report.token: is for pushing reports, which requires 'sign'"),
        ("{}", "report: requires 'sign', or where the reports of other hosts are: 'to' or 'refs'"),
    ],
)
def test_where_reports_go_is_checked_with_the_settings(report: str, told: str) -> None:
    (found,) = problems(repository(f"url: /x, signed: no, report: {report}", ", notes: {url: /n, signed: no}"))
    assert f"git.repositories.fleet.{told}" in found


def test_a_host_that_makes_no_report_may_read_those_in_another_repository() -> None:
    assert not problems(repository("url: /x, signed: no, report: {to: notes}", ", notes: {url: /n, signed: no}"))


@pytest.mark.parametrize("refs", ["heads/x/", "refs/x", "refs/heads/x/", "refs/../x/", "refs//x/", "refs/.x/"])
def test_references_of_reports_are_the_beginning_of_some(refs: str) -> None:
    (told,) = problems(repository(f"url: /x, signed: no, report: {{sign: {{file: k}}, refs: {refs}}}"))
    assert "report.refs: expected the beginning of references that are no branches, such as refs/tags/" in told


def test_several_origins_of_a_repository_report_each_for_itself() -> None:
    text = repository("url: /x, signed: no, report: {sign: {file: k}}")
    text += "origins:\n  a: {repository: fleet, branch: main}\n  b: {repository: fleet, branch: prod}\n"
    origins = parse("/etc/host.yaml", text.encode(), DEFAULTS).applied(DEFAULTS).origins
    assert [origin.reported for origin in origins] == ["a", "b"]


def test_who_may_have_a_commit_not_wait_is_read_with_the_repository() -> None:
    signed = repository("url: /x, signed: head, signers: {file: s}, urgent: [alice@example.com]")
    text = signed + "origins: {a: {repository: fleet, branch: main}}\n"
    (origin,) = parse("/etc/host.yaml", text.encode(), DEFAULTS).applied(DEFAULTS).origins
    assert origin.repository.urgent == ("alice@example.com",)
    (told,) = problems(repository("url: /x, signed: no, urgent: []"))
    assert "urgent: is for signed commits: say 'every' or 'head' in 'signed'" in told
