"""The short form of an origin in git: what it names, and what it cannot."""

from pathlib import Path

import pytest

from reconciler.settings.git_short import FORM, origin_of
from reconciler.settings.settings import Settings
from reconciler.state.paths import StatePaths

SETTINGS = Settings(manifests=Path("/m"), paths=StatePaths(state=Path("/s")))


@pytest.mark.parametrize(
    ("url", "branch", "path", "name"),
    [
        ("https://git.example.com/ops/fleet.git", "main", "", "fleet"),
        ("https://git.example.com:8443/Fleet", "env/prod", "hosts/web1", "fleet"),
        ("https://git.example.com/~ops/a@b/fleet", "main", "", "fleet"),
    ],
)
def test_a_short_form_names_a_branch_of_a_repository(url: str, branch: str, path: str, name: str) -> None:
    origin = origin_of(f"git+{url}@{branch}" + (f"#subdirectory={path}" if path else ""), SETTINGS)
    assert (origin.name, origin.repository.urls, origin.branch, origin.paths) == (name, (url,), branch, (path,))
    assert origin.repository.signed == "no"


def test_a_repository_on_this_host_is_named_by_its_path() -> None:
    assert origin_of("git+file:///srv/fleet.git@main", SETTINGS).repository.urls == ("/srv/fleet.git",)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("git+https://git.example.com/fleet.git", FORM),
        ("git+http://git.example.com/fleet.git@main", FORM),
        ("git+ext::sh -c id@main", FORM),
        ("git+file://elsewhere/fleet.git@main", FORM),
        ("git+https://git.example.com/fleet.git@main#egg=fleet", FORM),
        ("git+https://git.example.com/fleet.git@main#subdirectory=a&x=b", FORM),
        ("git+https://git.example.com/fleet.git@", "expected the name of a branch"),
        ("git+https://git.example.com/fleet.git@-x", "expected the name of a branch"),
        ("git+https://git.example.com/fleet.git@main#subdirectory=../x", "expected a directory of the repository"),
        ("git+https://me:secret@git.example.com/fleet.git@main", "contains credentials: name the user, and the"),
        ("git+ssh://git@git.example.com/fleet.git@main", "ssh needs a key and the public keys of its server"),
    ],
)
def test_a_short_form_that_cannot_be_used_is_refused_with_what_was_expected(text: str, why: str) -> None:
    with pytest.raises(ValueError, match="^" + why.replace("+", r"\+").replace("?", r"\?")) as raised:
        origin_of(text, SETTINGS)
    assert "secret" not in str(raised.value)
