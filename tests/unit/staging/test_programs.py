"""Programs that are not Python's: recognised from the code, and what a host lacks."""

import json
from pathlib import Path
from typing import Any

import pytest

from reconciler.planning.apps.revision import Recipe
from reconciler.staging.detection.programs.languages import (
    LANGUAGES,
    how_to_install,
    language_of,
    languages_on_host,
    package_of,
)
from reconciler.staging.detection.programs.recognition import needs_python, serving_program
from reconciler.staging.errors import StagingError
from reconciler.staging.program_build import ProgramBuild

NODE = {"package.json": json.dumps({"scripts": {"start": "node server.js"}})}
GEMS = {"config.ru": "run App", "Gemfile": "gem 'puma'"}
PUMA = "bundle exec puma --bind-to-activated-sockets only"


def write(directory: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text)
    return directory


@pytest.mark.parametrize(
    ("files", "command", "listen", "build"),
    [
        (NODE, "node server.js", "port", ""),
        (NODE | {"server.js": "server.listen({fd: 3})"}, "node server.js", "descriptor", ""),
        (NODE | {"requirements.txt": ""}, None, "", ""),
        (NODE | {"app.py": "import flask\napp = flask.Flask('x')"}, None, "", ""),
        ({"package.json": "{}", "server.js": ""}, None, "", ""),
        ({"package.json": '{"name": "x"}', "server.js": ""}, "node server.js", "port", ""),
        ({"package.json": json.dumps({"scripts": {"start": "next start", "prestart": "x"}})}, "npm start", "port", ""),
        ({"package.json": json.dumps({"scripts": {"start": "tsc && node ."}})}, "npm start", "port", ""),
        (
            {
                "package.json": json.dumps({"scripts": {"start": "node ."}, "dependencies": {"x": "1"}}),
                "package-lock.json": "{}",
            },
            "node .",
            "port",
            "npm ci --omit=dev",
        ),
        (GEMS, PUMA, "descriptor", "bundle install"),
        (GEMS | NODE, PUMA, "descriptor", "bundle install"),
        ({"config.ru": "run App"}, "puma --bind-to-activated-sockets only", "descriptor", ""),
        ({"index.php": "<?php"}, "php -S $HOST:$PORT -t .", "port", ""),
        (
            {"public/index.php": "<?php", "composer.json": "{}"},
            "php -S $HOST:$PORT -t public",
            "port",
            "composer install --no-dev --no-interaction",
        ),
        (
            {"target/shop.jar": "", "target/shop-plain.jar": ""},
            "java -Dserver.port=$PORT -Dserver.address=$HOST -Dserver.shutdown=graceful -jar target/shop.jar",
            "port",
            "",
        ),
        ({"go.mod": "module a.b/c/x\n", "main.go": ""}, "./.build/x", "port", "go build -o .build/x ."),
        ({"go.mod": "module x", "main.go": 'os.Getenv("LISTEN_FDS")'}, "./.build/x", "descriptor", None),
        ({"Procfile": "web: gunicorn web:app"}, None, "", ""),
        ({"Procfile": "web: node index.js"}, "node index.js", "port", ""),
        (
            GEMS | {"Procfile": "web: bundle exec rails server -p $PORT"},
            "bundle exec rails server -p $PORT",
            "port",
            None,
        ),
        ({"Procfile": "web: ./bin/shop", "bin/shop": ""}, "./bin/shop", "port", ""),
        ({"Procfile": "web: ./bin/absent"}, None, "", ""),
        ({"wsgi.py": "application = 1"}, None, "", ""),
        ({}, None, "", ""),
    ],
)
def test_a_source_is_recognised_by_its_files(
    tmp_path: Path, files: dict[str, str], command: str | None, listen: str, build: str | None
) -> None:
    found = serving_program(write(tmp_path, files), Recipe())
    if command is None:
        assert found is None
        return
    assert found is not None
    assert (" ".join(found.command), found.listen) == (command, listen)
    assert build is None or " ".join(found.build) == build
    assert not needs_python(tmp_path, Recipe(), found)


@pytest.mark.parametrize(
    ("command", "listen", "python"),
    [
        ("uvicorn web:app --fd 3", "descriptor", True),
        ("hypercorn web:app --bind fd://3", "descriptor", True),
        ("granian web:app --port $PORT", "port", True),
        ("python -m web", "port", True),
        ("node server.js", "port", False),
        ("puma -b unix://$SOCKET", "socket", False),
        ("/opt/shop/serve", "port", False),
    ],
)
def test_a_command_of_the_manifest_says_by_itself_how_it_is_reached(
    tmp_path: Path, command: str, listen: str, python: bool
) -> None:
    recipe = Recipe(command=tuple(command.split()))
    found = serving_program(write(tmp_path, NODE), recipe)
    assert found is not None
    assert (found.command, found.listen) == (recipe.command, listen)
    assert needs_python(tmp_path, recipe, found) == python


def test_the_code_says_how_a_command_of_node_is_reached_that_says_nothing(tmp_path: Path) -> None:
    code = write(tmp_path, {"server.js": "http.createServer().listen({fd: 3})"})
    for command, listen in (("node server.js", "descriptor"), ("python web.py", "port")):
        found = serving_program(code, Recipe(command=tuple(command.split())))
        assert found is not None
        assert found.listen == listen


def test_the_manifest_says_how_a_recognised_program_is_reached_and_built(tmp_path: Path) -> None:
    recipe = Recipe(listen="descriptor", build=("make",))
    found = serving_program(write(tmp_path, {"go.mod": "module x", "main.go": ""}), recipe)
    assert found is not None
    assert (found.listen, found.build) == ("descriptor", ("make",))
    assert found.language_program == "./.build/x"


def test_a_command_beside_packages_of_python_gets_their_environment(tmp_path: Path) -> None:
    recipe = Recipe(command=("./serve",))
    found = serving_program(write(tmp_path, {"requirements.txt": "x", "serve": ""}), recipe)
    assert found is not None
    assert needs_python(tmp_path, recipe, found)
    assert not needs_python(tmp_path, recipe, serving_program(tmp_path, Recipe(command=("node", "."))) or found)


@pytest.mark.parametrize("text", ["{", "[" * 100_000])
def test_a_damaged_package_json_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(StagingError, match=r"package\.json"):
        serving_program(write(tmp_path, {"package.json": text}), Recipe())


@pytest.mark.parametrize("text", ["[]", '{"scripts": []}', '{"scripts": {"start": 7}}'])
def test_a_package_json_without_a_command_is_no_program(tmp_path: Path, text: str) -> None:
    assert serving_program(write(tmp_path, {"package.json": text}), Recipe()) is None


def test_every_program_of_a_language_has_its_package_or_none() -> None:
    for language in LANGUAGES:
        assert language_of(language.program) is language
        assert package_of(language.program) == language.package
        assert all(language_of(f"/usr/bin/{other}") is language for other in language.others)
    assert package_of("/usr/sbin/php-fpm8.2") == "php-fpm"
    assert "apt install nodejs" in how_to_install("node")
    assert how_to_install("falcon") == "install it, or name another program"
    assert language_of("shop") is None


def test_what_a_host_runs_is_told_with_its_version() -> None:
    for found in languages_on_host():
        assert found.version[0].isdecimal()
        assert found.path.startswith("/")
        assert found.description.endswith(found.version)


def test_a_program_that_is_missing_is_told_with_what_to_install(tmp_path: Path) -> None:
    build = ProgramBuild(code=write(tmp_path, {"run": "", "ok": ""}), scripts="", home=tmp_path, environment={})
    (tmp_path / "ok").chmod(0o755)
    build.check("./ok", "which serves the app")
    build.check("sh", "which serves the app")
    refused: Any
    for program, said in (
        ("./run", "cannot run ./run, which serves the app: it is not executable (chmod +x)"),
        ("./absent", "there is no program ./absent, which serves the app"),
        (
            "falcon-x",
            "there is no program 'falcon-x' on this host, which serves the app: install it, or name another program",
        ),
    ):
        with pytest.raises(StagingError) as refused:
            build.check(program, "which serves the app")
        assert str(refused.value) == said
