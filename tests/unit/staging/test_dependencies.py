"""What decides about an app's environment."""

from pathlib import Path

import pytest

from reconciler.staging.detection.dependencies import DependencyOptions, dependencies
from reconciler.staging.detection.lockfiles.uv import UV
from reconciler.staging.detection.requirements import requirements
from reconciler.staging.environments.identity import differences, indexes, variables_digest
from reconciler.staging.environments.installer_env import (
    SECRETS,
    VARIABLES,
    clean_environment,
    for_index,
    for_installers,
    secrets_of,
    variables,
)
from reconciler.staging.errors import StagingError

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
    found = dependencies(plant(tmp_path, files), DependencyOptions(file=asked))
    assert (found.file, set(found.contents)) == (file, contents)


@pytest.mark.parametrize(
    ("files", "asked", "says"),
    [
        ({"requirements.txt": "", "uv.lock": ""}, None, "cannot choose between requirements.txt and uv.lock"),
        ({"Pipfile": ""}, None, "cannot install from Pipfile: Pipfile.lock is missing; run `pipenv lock`"),
        ({"pyproject.toml": "[tool.poetry.dependencies]"}, None, "poetry.lock is missing; run `poetry lock`"),
        ({}, "deps.txt", "there is no deps.txt in the source"),
        ({"pyproject.toml": "[tool.x]"}, "pyproject.toml", r"no \[project\] table"),
        (
            {"requirements.txt": "-r ../other.txt"},
            None,
            "cannot include ../other.txt in requirements.txt: it is outside",
        ),
        ({"requirements.txt": "-r missing.txt"}, None, "cannot read missing.txt"),
        ({"requirements.txt": "-e ../lib"}, None, "it is outside the source"),
        ({"requirements.txt": "./lib"}, None, "there is no ./lib in the source"),
        ({"uv.lock": "["}, None, "cannot read uv.lock"),
        ({"Pipfile.lock": "{"}, None, "cannot read Pipfile.lock"),
    ],
)
def test_what_cannot_be_installed_is_refused(
    tmp_path: Path, files: dict[str, str], asked: str | None, says: str
) -> None:
    with pytest.raises(StagingError, match=says):
        dependencies(plant(tmp_path, files), DependencyOptions(file=asked))


def test_extras_are_refused_where_there_are_none(tmp_path: Path) -> None:
    plant(tmp_path, {"requirements.txt": "bottle"})
    with pytest.raises(StagingError, match=r"cannot choose extras or groups of requirements\.txt"):
        dependencies(tmp_path, DependencyOptions(extras=("x",)))


@pytest.mark.parametrize("line", ["-e .", ".", "./x", "x @ file:./x", "x/y.whl", ".[web]", "--editable=./x"])
def test_code_that_is_installed_has_a_say_in_the_environment(tmp_path: Path, line: str) -> None:
    plant(tmp_path, {"requirements.txt": line, "x/y.whl": "1", "a.py": ""})
    before = dependencies(tmp_path, DependencyOptions())
    assert before.trees
    plant(tmp_path, {"x/y.whl": "2"})
    after = dependencies(tmp_path, DependencyOptions())
    assert after.contents != before.contents
    assert after.declared == before.declared


def test_paths_become_absolute_and_nothing_stays_editable(tmp_path: Path) -> None:
    lines = "-e ./lib[x]\n--find-links wheels\n-r more/r.txt\nlib @ file:./lib\n"
    plant(
        tmp_path,
        {"requirements.txt": lines, "more/r.txt": "../lib ; python_version > '3'\n", "lib/a": "", "wheels/w": ""},
    )
    top = tmp_path.resolve()
    assert requirements(tmp_path, "requirements.txt").lines == (
        f"{top}/lib[x]",
        f"--find-links {top}/wheels",
        f"{top}/lib ; python_version > '3'",
        f"lib @ file://{top}/lib",
    )


def test_a_pipfile_lock_has_groups_and_no_extras(tmp_path: Path) -> None:
    plant(tmp_path, {"Pipfile.lock": "{}", "Pipfile": ""})
    assert dependencies(tmp_path, DependencyOptions(groups=("docs",))).groups == ("docs",)
    with pytest.raises(StagingError, match=r"cannot choose extras of Pipfile\.lock: it has only groups"):
        dependencies(tmp_path, DependencyOptions(extras=("x",)))


LOCK = "version = 1\nrequires-python = '>=3.11'\n[[package]]\nname='lib'\nsource={editable='libs/lib'}\n"


def test_a_lock_file_says_for_which_python_and_which_code_it_is(tmp_path: Path) -> None:
    plant(tmp_path, {"uv.lock": LOCK, "libs/lib/a.py": "", "pyproject.toml": f"{PROJECT}[build-system]\nrequires=[]\n"})
    found = dependencies(tmp_path, DependencyOptions())
    assert (found.lock, str(found.python), found.itself) == (UV, ">=3.11", True)
    assert found.trees == {"libs/lib", "the project itself"}


def test_what_has_no_say_in_the_environment_does_not_change_it(tmp_path: Path) -> None:
    before = dependencies(plant(tmp_path, {"pyproject.toml": PROJECT}), DependencyOptions())
    plant(tmp_path, {"pyproject.toml": PROJECT.replace("'1'", "'2'") + "[tool.ruff]\nline-length = 1\n"})
    assert dependencies(tmp_path, DependencyOptions()) == before
    plant(tmp_path, {"pyproject.toml": PROJECT.replace("bottle", "flask")})
    assert dependencies(tmp_path, DependencyOptions()) != before


def test_an_installer_sees_nothing_that_could_mislead_it() -> None:
    misleading = {"PIP_TARGET", "PIP_USER", "PIP_PREFIX", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "UV_CACHE_DIR"}
    misleading |= {"UV_PYTHON", "UV_TARGET", "UV_NO_DEPS", "PIP_REQUIRE_VIRTUALENV", "PIP_CONFIG_FILE"}
    kept = {"PATH", "HOME", "https_proxy", "UV_INDEX_PRIVATE_PASSWORD", "SSL_CERT_FILE", "PIP_INDEX_URL", "NETRC"}
    assert set(clean_environment(dict.fromkeys((*misleading, *kept), "x"))) == kept
    assert not {"PYTHONPATH", "PIP_TARGET", "UV_TARGET"} & set(for_installers(dict.fromkeys(misleading, "x")))


def test_an_interpreter_that_is_slow_to_tell_of_itself_is_waited_for() -> None:
    assert float(for_installers({})["PY_DISCOVERY_TIMEOUT"]) >= 3600, "15 s by itself, which a busy host may take"


def test_what_is_said_to_uv_or_to_pip_reaches_both() -> None:
    to_uv = for_installers({"UV_DEFAULT_INDEX": "https://i/simple", "SSL_CERT_FILE": "/ca"})
    assert (to_uv["PIP_INDEX_URL"], to_uv["PIP_CERT"]) == ("https://i/simple", "/ca")
    assert for_installers({"PIP_EXTRA_INDEX_URL": "https://x"})["UV_EXTRA_INDEX_URL"] == "https://x"


@pytest.mark.parametrize(
    ("environ", "index", "more"),
    [
        ({}, None, None),
        ({"UV_DEFAULT_INDEX": "https://mirror/simple"}, "https://mirror/simple", None),
        ({"UV_INDEX": "ours=https://p/simple"}, "https://p/simple", ""),
        ({"UV_INDEX": "https://p/simple https://q/simple"}, "https://p/simple", "https://q/simple"),
        ({"PIP_EXTRA_INDEX_URL": "https://p/simple", "PIP_INDEX_URL": "https://m"}, "https://p/simple", ""),
        (
            {
                "UV_INDEX": "our-own=https://p/simple",
                "UV_INDEX_OUR_OWN_USERNAME": "a@b",
                "UV_INDEX_OUR_OWN_PASSWORD": "/",
            },
            "https://a%40b:%2F@p/simple",
            "",
        ),
        (
            {"UV_INDEX": "https://p/simple", "UV_INDEX_STRATEGY": "unsafe-best-match"},
            "https://pypi.org/simple",
            "https://p/simple",
        ),
    ],
)
def test_pip_which_takes_the_highest_version_of_all_sees_no_index_beside_private_ones(
    environ: dict[str, str], index: str | None, more: str | None
) -> None:
    of_pip = for_installers(environ)
    assert (of_pip.get("PIP_INDEX_URL"), of_pip.get("PIP_EXTRA_INDEX_URL")) == (index, more)


@pytest.mark.parametrize(
    ("index", "address"),
    [
        ("https://p/simple", "https://joe:secret@p/simple/"),
        ("https://q/simple", "https://q/simple"),
        ("https://pypi.org/simple", "https://pypi.org/simple"),
        ("https://r/simple", "https://ann:word@r/simple"),
    ],
)
def test_pip_sees_one_index_with_its_credentials_where_uv_has_named_it(index: str, address: str) -> None:
    several = {"UV_INDEX": "ours=https://p/simple/ https://q/simple", "UV_INDEX_OURS_USERNAME": "joe"}
    environment = for_installers({**several, "UV_INDEX_OURS_PASSWORD": "secret"})
    alone = for_index(environment, index, ["https://ann:word@r/simple"])
    assert alone == {**environment, "PIP_INDEX_URL": address, "PIP_EXTRA_INDEX_URL": ""}


def test_what_builds_an_sdist_of_a_directory_of_files_comes_from_the_indexes() -> None:
    assert for_index(for_installers({}), "file:///wheels") is None


def test_credentials_do_not_make_another_environment() -> None:
    one = indexes({"UV_INDEX_URL": "https://a:b@host/simple", "UV_INDEX_X_PASSWORD": "1"})
    assert one == indexes({"UV_INDEX_URL": "https://c:d@host/simple"}) != indexes({"UV_INDEX_URL": "https://other"})


def test_why_an_environment_is_made_again_is_said_in_words() -> None:
    assert differences({"a": "1", "b": "2"}, {"a": "1", "b": "3", "c": "4"}) == "b, c changed"
    assert differences({"a": "1"}, {"a": "1"}) == "the previous one was incomplete"


@pytest.mark.parametrize(
    ("file", "text", "says"),
    [
        ("Pipfile.lock", "[]", "expected the document to be a table"),
        ("Pipfile.lock", '{"default": {"a": 1}}', "expected default.a to be a table"),
        ("poetry.lock", "metadata = 1", "expected metadata to be a table"),
        ("poetry.lock", "package = [1]", r"expected package\[0\] to be a table"),
        ("pylock.toml", "packages = 1", "expected packages to be a list"),
        ("uv.lock", "requires-python = []", "expected requires-python to be text"),
        ("uv.lock", "a = " + "[" * 5000, "it is nested too deeply"),
        ("pyproject.toml", "[project]\ndynamic = 1", "expected dynamic to be a list"),
        ("pyproject.toml", "[tool]\nuv = 1", "expected tool.uv to be a table"),
    ],
)
def test_a_file_of_another_shape_is_refused_with_the_place(tmp_path: Path, file: str, text: str, says: str) -> None:
    with pytest.raises(StagingError, match=f"cannot read {file}: {says}"):
        dependencies(plant(tmp_path, {file: text}), DependencyOptions())


@pytest.mark.parametrize("path", ["a" * 300, "a\0b"])
def test_a_path_that_cannot_be_is_refused_by_name(tmp_path: Path, path: str) -> None:
    with pytest.raises(
        StagingError,
        match=r"of requirements\.txt: there is no \./a|read requirements\.txt: it has a NUL byte at line 1",
    ):
        requirements(plant(tmp_path, {"requirements.txt": f"-e ./{path}\n"}), "requirements.txt")


def test_an_included_file_that_cannot_be_read_is_named_with_the_one_that_includes_it(tmp_path: Path) -> None:
    code = plant(tmp_path, {"requirements.txt": "-r more.txt\n"})
    with pytest.raises(StagingError, match=r"cannot read more\.txt, which requirements\.txt includes: No such file"):
        requirements(code, "requirements.txt")


@pytest.mark.parametrize(
    ("line", "becomes"),
    [
        ("-e git+https://h/x.git@v1#egg=x", "x @ git+https://h/x.git@v1"),
        (
            "--editable=git+ssh://git@h/x.git#egg=x[a]&subdirectory=s ; python_version > '3'",
            "x[a] @ git+ssh://git@h/x.git#subdirectory=s ; python_version > '3'",
        ),
        ("-e git+${PLACE}/x.git#egg=x", "x @ git+${PLACE}/x.git"),
        ("-e git+https://h/x.git", "git+https://h/x.git"),
    ],
)
def test_an_editable_repository_is_installed_as_it_is_now(tmp_path: Path, line: str, becomes: str) -> None:
    found = requirements(plant(tmp_path, {"requirements.txt": f"{line}\n"}), "requirements.txt")
    assert (found.lines, found.rewritten, found.trees) == ((becomes,), True, frozenset())


@pytest.mark.parametrize("line", ["-r 'other file.txt'", '-r "other file.txt"', r"-r other\ file.txt"])
def test_a_file_with_a_space_in_its_name_is_included(tmp_path: Path, line: str) -> None:
    found = requirements(plant(tmp_path, {"requirements.txt": line, "other file.txt": "six"}), "requirements.txt")
    assert found.lines == ("six",)


@pytest.mark.parametrize("end", ["\\", "\\\n", " \\\n\n", "\\\r\n"])
def test_a_last_line_that_nothing_continues_ends_there(tmp_path: Path, end: str) -> None:
    (tmp_path / "requirements.txt").write_bytes(f"flask==3.0 \\\n  --hash=sha256:1\nsix{end}".encode())
    read = requirements(tmp_path, "requirements.txt")
    assert (read.lines, read.rewritten) == (("flask==3.0    --hash=sha256:1", "six"), True)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_every_encoding_of_an_editor_is_read(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "requirements.txt").write_bytes("bottle\r\nsix".encode(encoding))
    found = requirements(tmp_path, "requirements.txt")
    assert found.lines == ("bottle", "six")
    plant(tmp_path, {"requirements.txt": "bottle\nsix"})
    assert requirements(tmp_path, "requirements.txt").contents == found.contents


@pytest.mark.parametrize("line", ["-e /", "/", "x @ file:///", "--find-links /"])
def test_the_whole_host_is_no_package(tmp_path: Path, line: str) -> None:
    plant(tmp_path, {"requirements.txt": line})
    with pytest.raises(StagingError, match=r"cannot install from .*(has no pyproject.toml or setup.py|source itself)"):
        dependencies(tmp_path, DependencyOptions())


TOKEN = {"TOKEN": "hunter2", "PLACE": "https://h", VARIABLES: "TOKEN PLACE UV_INDEX_P_PASSWORD", "OTHER": "1"}


def test_only_variables_that_the_settings_give_reach_builds() -> None:
    assert variables(TOKEN) == {"TOKEN": "hunter2", "PLACE": "https://h"}
    assert {"TOKEN", "PLACE"} <= for_installers(TOKEN).keys()
    assert not {"OTHER", VARIABLES} & for_installers(TOKEN).keys()


def test_a_value_from_a_file_is_a_secret_whatever_its_name() -> None:
    environ = {"PLACE": "elsewhere", "PIN": "1", "COLOUR": "green", SECRETS: "PLACE PIN"}
    assert secrets_of(environ) == {"elsewhere"}


def test_a_requirement_with_a_variable_needs_its_value(tmp_path: Path) -> None:
    plant(tmp_path, {"requirements.txt": "-r more.txt", "more.txt": "x @ git+https://${TOKEN}@${PLACE}/x.git\n"})
    found = dependencies(tmp_path, DependencyOptions())
    assert found.variables == {"TOKEN": "more.txt", "PLACE": "more.txt"}
    with pytest.raises(StagingError, match=r"cannot install more.txt: nothing gives \$\{PLACE\} a value; set it under"):
        variables_digest(found, {"TOKEN": "1"})


def test_variables_make_another_environment_only_where_they_decide_and_hold_no_secret(tmp_path: Path) -> None:
    plant(tmp_path, {"requirements.txt": "x @ git+https://${TOKEN}@${PLACE}/x.git\n"})
    found = dependencies(tmp_path, DependencyOptions())
    one = variables_digest(found, {"TOKEN": "1", "PLACE": "a", "VERSION": "1"})
    assert one == variables_digest(found, {"TOKEN": "2", "PLACE": "a", "VERSION": "2"})
    assert one != variables_digest(found, {"TOKEN": "1", "PLACE": "b"})
    plant(tmp_path, {"requirements.txt": "six"})
    assert variables_digest(dependencies(tmp_path, DependencyOptions()), {"PLACE": "a"}) == ""
    plant(tmp_path, {"requirements.txt": "-e .", "setup.py": ""})
    builds = dependencies(tmp_path, DependencyOptions())
    assert variables_digest(builds, {"VERSION": "1"}) != variables_digest(builds, {"VERSION": "2"})
