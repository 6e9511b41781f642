"""What decides about an app's environment."""

from pathlib import Path

import pytest

from reconciler.staging.command import clean_environment
from reconciler.staging.dependencies import dependencies
from reconciler.staging.failure import StagingError
from reconciler.staging.identity import differences, indexes
from reconciler.staging.log import masked

PROJECT = "[project]\nname = 'x'\nversion = '1'\ndependencies = ['bottle']\n"


def plant(directory: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return directory


@pytest.mark.parametrize(
    ("files", "asked", "file", "contents"),
    [
        ({"wsgi.py": ""}, None, "", set()),
        ({"pyproject.toml": "[tool.ruff]"}, None, "", set()),
        ({"requirements.txt": "bottle"}, None, "requirements.txt", {"requirements.txt"}),
        ({"requirements.txt": "", "pyproject.toml": PROJECT}, None, "requirements.txt", {"requirements.txt"}),
        ({"pyproject.toml": PROJECT}, None, "pyproject.toml", {"pyproject.toml"}),
        ({"pyproject.toml": PROJECT, "uv.lock": ""}, "pyproject.toml", "pyproject.toml", {"pyproject.toml"}),
        (
            {
                "requirements.txt": "-r req/base.txt # all\n-c\\\n limits.txt\nx @ https://h/x.whl ; a>'3'\n",
                "req/base.txt": "--requirement=more.txt\n-r ../requirements.txt",
                "req/more.txt": "-c https://example.com/c.txt\nflask[async]>=2",
                "limits.txt": "",
            },
            None,
            "requirements.txt",
            {"requirements.txt", "req/base.txt", "req/more.txt", "limits.txt"},
        ),
        (
            {"requirements.txt": "", "pyproject.toml": "[tool.uv]\nindex-url='https://x'", "uv.toml": ""},
            None,
            "requirements.txt",
            {"requirements.txt", "tool.uv of pyproject.toml", "uv.toml"},
        ),
    ],
)
def test_the_dependency_file_and_all_it_draws_in_are_found(
    tmp_path: Path, files: dict[str, str], asked: str | None, file: str, contents: set[str]
) -> None:
    found = dependencies(plant(tmp_path, files), asked)
    assert (found.file, set(found.contents)) == (file, contents)


@pytest.mark.parametrize(
    ("files", "asked", "says"),
    [
        ({"requirements.txt": "", "uv.lock": ""}, None, "cannot choose between requirements.txt and uv.lock"),
        ({"pyproject.toml": PROJECT, "poetry.lock": ""}, None, "poetry.lock: it is not supported yet;.* export it"),
        ({"setup.py": ""}, None, "cannot install from setup.py: it is not supported yet"),
        ({}, "deps.txt", "there is no deps.txt in the source"),
        ({"pyproject.toml": "[tool.x]"}, "pyproject.toml", r"no \[project\] table"),
        (
            {"pyproject.toml": "[project]\ndynamic = ['dependencies']"},
            None,
            "dynamic dependencies are not supported yet",
        ),
        (
            {"requirements.txt": "-r ../other.txt"},
            None,
            "cannot follow ../other.txt in requirements.txt: it is outside",
        ),
        ({"requirements.txt": "-r missing.txt"}, None, "cannot read missing.txt"),
        *(
            ({"requirements.txt": line}, None, "local paths are not supported yet")
            for line in ("-e .", ".", "./x", "../x", "/x", "x @ file:///x", "vendor/x.whl", "-f ./wheels", ".[web]")
        ),
    ],
)
def test_what_cannot_be_installed_yet_is_refused(
    tmp_path: Path, files: dict[str, str], asked: str | None, says: str
) -> None:
    with pytest.raises(StagingError, match=says):
        dependencies(plant(tmp_path, files), asked)


def test_what_has_no_say_in_the_environment_does_not_change_it(tmp_path: Path) -> None:
    before = dependencies(plant(tmp_path, {"pyproject.toml": PROJECT}), None)
    plant(tmp_path, {"pyproject.toml": PROJECT.replace("'1'", "'2'") + "[tool.ruff]\nline-length = 1\n"})
    assert dependencies(tmp_path, None) == before
    plant(tmp_path, {"pyproject.toml": PROJECT.replace("bottle", "flask")})
    assert dependencies(tmp_path, None) != before


def test_an_installer_sees_nothing_that_could_mislead_it() -> None:
    misleading = ("PIP_TARGET", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "UV_CACHE_DIR", "UV_PYTHON", "UV_TARGET")
    kept = {"PATH", "HOME", "https_proxy", "UV_INDEX_PRIVATE_PASSWORD", "SSL_CERT_FILE"}
    assert set(clean_environment(dict.fromkeys((*misleading, *kept), "x"))) == kept


def test_credentials_are_masked_and_do_not_make_another_environment() -> None:
    assert masked("from https://me:secret@host/simple and git+ssh://tok@h/x") == (
        "from https://***@host/simple and git+ssh://***@h/x"
    )
    one = indexes({"UV_INDEX_URL": "https://a:b@host/simple", "UV_INDEX_X_PASSWORD": "1"})
    assert one == indexes({"UV_INDEX_URL": "https://c:d@host/simple"}) != indexes({"UV_INDEX_URL": "https://other"})


def test_why_an_environment_is_made_again_is_said_in_words() -> None:
    assert differences({"a": "1", "b": "2"}, {"a": "1", "b": "3", "c": "4"}) == "b, c changed"
    assert differences({"a": "1"}, {"a": "1"}) == "it was not whole"
