"""Find what serves an app that is not Python's: the manifest's command, a Procfile's web line, or the code's files.

Python comes first wherever the code shows an app of it: many a Django project brings a package.json for its assets.
"""

import re
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from reconciler.planning.apps.code_commands import Listen
from reconciler.planning.apps.command_words import words_of_shell_line
from reconciler.planning.apps.revision import Recipe
from reconciler.staging.detection.bounded_json import parse_json
from reconciler.staging.detection.dependency_file import dependency_file
from reconciler.staging.detection.entry_point import detect
from reconciler.staging.detection.procfile import FILE, Procfile, read_procfile
from reconciler.staging.detection.programs.languages import language_of
from reconciler.staging.detection.programs.program import ServingProgram
from reconciler.staging.detection.text_file import text_of
from reconciler.staging.detection.web_line.command import understand
from reconciler.staging.errors import StagingError

MANIFEST = "`command` in the manifest"
_TAKES_DESCRIPTOR = re.compile(r"LISTEN_FDS|\bfd:\s*3\b|listenFds|activation\.Listeners|fd://3|--fd[ =]3")
_PASSED_OVER = (
    "heroku-php-apache2",
    "heroku-php-nginx",
    "vendor/bin/heroku-php-apache2",
    "vendor/bin/heroku-php-nginx",
)
_MOST_READ = 20
_MODULE = re.compile(r"^module[ \t]+(?:\S*/)?([\w.-]+)", re.MULTILINE)
_OF_PYTHON = re.compile(r"(?:python|pypy)[\d.]*|uvicorn|hypercorn|daphne|granian|waitress-serve|flask|uv|gunicorn")
_DESCRIPTOR_WORDS = re.compile(r"--fd(?:[ =]3)\b|fd://3|--bind-to-activated-sockets")


def serving_program(code: Path, recipe: Recipe) -> ServingProgram | None:
    """Return the program that serves the app in `code`, None if that is gunicorn. Raises StagingError."""
    procfile = read_procfile(code)
    if not recipe.web:
        return _without_web(code, recipe, procfile)
    if recipe.command:
        return _of_manifest(code, recipe, procfile)
    if recipe.entrypoint is not None:
        return None
    found = _of_web_line(code, procfile) or _of_files(code, recipe, procfile)
    if found is None:
        return None
    return replace(found, build=recipe.build or found.build, listen=recipe.listen or found.listen)


def program_of_web_line(code: Path) -> ServingProgram | None:
    """Return the program that the web line of the code's Procfile starts, None for a server of Python's or for none."""
    return _of_web_line(code, read_procfile(code))


def needs_python(code: Path, recipe: Recipe, program: ServingProgram) -> bool:
    """Return whether a program needs an environment of Python: it asks for one, or is found only there."""
    if recipe.runtime is not None or recipe.dependencies is not None or _OF_PYTHON.fullmatch(program.name):
        return True
    if not recipe.web:
        return bool(dependency_file(code, None)) or (_other_language(code) is None and _has_python(code))
    return language_of(program.name) is None and bool(dependency_file(code, None))


def _without_web(code: Path, recipe: Recipe, procfile: Procfile | None) -> ServingProgram:
    """Return what is built and run once for an app that no program serves."""
    found = _other_language(code)
    return ServingProgram(
        command=(),
        listen="port",
        because="`web: false` in the manifest",
        build=recipe.build or (found.build if found is not None else ()),
        release="" if procfile is None else procfile.release or "",
        reported=() if procfile is None else tuple(_others(procfile)),
    )


def _other_language(code: Path) -> ServingProgram | None:
    """Return what the files of another language than Python would serve an app with; None where there are none."""
    found = next((each for look in _KINDS if (each := look(code)) is not None), None)
    return None if found is None or _is_python(code) else found


def _has_python(code: Path) -> bool:
    """Return whether there is a file of Python at the top of the code, or one directory down."""
    return any(True for place in ("*.py", "*/*.py") for _ in code.glob(place))


def default_listen(command: tuple[str, ...]) -> Listen:
    """Return how a command is most likely reached: by what it names, by a port where it names nothing."""
    line = " ".join(command)
    if _DESCRIPTOR_WORDS.search(line):
        return "descriptor"
    return "socket" if re.search(r"\$\{?SOCKET\b", line) else "port"


def _of_manifest(code: Path, recipe: Recipe, procfile: Procfile | None) -> ServingProgram:
    language = language_of(recipe.command[0])
    reads_sources = language is not None and language.name in {"node", "go"}
    listen = _listen_of(code, recipe.command) if reads_sources else default_listen(recipe.command)
    return ServingProgram(
        command=recipe.command,
        listen=recipe.listen or listen,
        because=MANIFEST,
        build=recipe.build,
        release="" if procfile is None else procfile.release or "",
        reported=() if procfile is None else tuple(_others(procfile)),
    )


def _of_web_line(code: Path, procfile: Procfile | None) -> ServingProgram | None:
    """Return the program of a Procfile's web line, None for a server of Python's."""
    line = None if procfile is None else procfile.web
    if procfile is None or line is None or understand(line, code) is not None:
        return None
    words = words_of_shell_line(line)
    named = [word for word in (words[-1].split() if words[:2] == ("sh", "-c") else words) if "=" not in word]
    program = next((each for each in named if each not in {"env", "exec"}), "")
    if program in _PASSED_OVER:
        found = _php(code)
        return None if found is None else replace(found, reported=tuple(_others(procfile)))
    is_own = (code / program).is_file() and not program.endswith(".py") if program else False
    if language_of(program) is None and not is_own:
        return None
    because = f"the web line of {FILE}"
    listen = _listen_of(code, words)
    found = next((each for each in (_ruby(code), _node(code), _go(code)) if each is not None), None)
    return ServingProgram(
        command=words,
        listen=listen,
        because=because,
        build=found.build if found is not None else (),
        release=procfile.release or "",
        reported=tuple(_others(procfile)),
    )


def _others(procfile: Procfile) -> list[str]:
    return list(procfile.others())


def _of_files(code: Path, recipe: Recipe, procfile: Procfile | None) -> ServingProgram | None:
    found = next((each for look in _KINDS if (each := look(code)) is not None), None)
    if found is None or recipe.dependencies or recipe.runtime or _is_python(code):
        return None
    release = "" if procfile is None else procfile.release or ""
    return replace(found, release=release, reported=() if procfile is None else tuple(_others(procfile)))


def _is_python(code: Path) -> bool:
    """Return whether the code shows a Python app, or something wrong about one."""
    with suppress(StagingError):
        if dependency_file(code, None):
            return True
        detect(code, None)
        return True
    return False


def _node(code: Path) -> ServingProgram | None:
    package = _json(code / "package.json", "package.json")
    scripts = package.get("scripts")
    start = scripts.get("start") if isinstance(scripts, dict) else None
    if not isinstance(start, str) or not start.strip():
        if not (code / "server.js").is_file() or not package:
            return None
        start = "node server.js"  # as npm does without a start script
    words = words_of_shell_line(start)
    has_hooks = isinstance(scripts, dict) and bool({"prestart", "poststart"} & scripts.keys())
    command = ("npm", "start") if words[0] == "sh" or has_hooks else words
    locked = any((code / name).is_file() for name in ("package-lock.json", "npm-shrinkwrap.json"))
    build: tuple[str, ...] = ()
    if package.get("dependencies"):
        build = ("npm", "ci", "--omit=dev") if locked else ("npm", "install", "--omit=dev")
    return ServingProgram(
        command=command, listen=_listen_of(code, words), because="the start script of package.json", build=build
    )


def _ruby(code: Path) -> ServingProgram | None:
    if not (code / "config.ru").is_file():
        return None
    bundled = (code / "Gemfile").is_file()
    puma = ("puma", "--bind-to-activated-sockets", "only")
    return ServingProgram(
        command=("bundle", "exec", *puma) if bundled else puma,
        listen="descriptor",
        because="config.ru",
        build=("bundle", "install") if bundled else (),
    )


def _php(code: Path) -> ServingProgram | None:
    top = next((each for each in ("public", "web", "") if (code / each / "index.php").is_file()), None)
    if top is None:
        return None
    note = (
        "PHP's own server serves it, one request at a time: set `command` to one for many clients, such as frankenphp"
    )
    return ServingProgram(
        command=("php", "-S", "$HOST:$PORT", "-t", top or "."),
        listen="port",
        because=f"{top}/index.php".lstrip("/"),
        build=("composer", "install", "--no-dev", "--no-interaction") if (code / "composer.json").is_file() else (),
        notes=(note,),
    )


def _java(code: Path) -> ServingProgram | None:
    jars = sorted(
        path.relative_to(code).as_posix()
        for place in ("", "target", "build/libs")
        for path in (code / place).glob("*.jar")
        if path.is_file() and not path.name.endswith(("-plain.jar", "-sources.jar", "-javadoc.jar"))
    )
    if len(jars) != 1:
        return None
    command = ("java", "-Dserver.port=$PORT", "-Dserver.address=$HOST", "-Dserver.shutdown=graceful", "-jar", jars[0])
    return ServingProgram(command=command, listen="port", because=jars[0])


def _go(code: Path) -> ServingProgram | None:
    if not (code / "go.mod").is_file() or not any(code.glob("*.go")):
        return None
    module = _MODULE.search(text_of(code / "go.mod", "go.mod"))
    program = f".build/{module[1] if module is not None else 'program'}"
    command, build = (f"./{program}",), ("go", "build", "-o", program, ".")
    return ServingProgram(command=command, listen=_listen_of(code, command), because="go.mod", build=build)


_KINDS = (_ruby, _node, _php, _java, _go)


def _listen_of(code: Path, command: tuple[str, ...]) -> Listen:
    """Return how a command is reached; a program takes the descriptor where its own code at the top says so."""
    if (named := default_listen(command)) != "port" or "$PORT" in " ".join(command):
        return named
    sources = [path for ending in ("*.js", "*.mjs", "*.cjs", "*.ts", "*.go") for path in sorted(code.glob(ending))]
    for path in sources[:_MOST_READ]:
        with suppress(StagingError, OSError):
            if path.is_file() and _TAKES_DESCRIPTOR.search(text_of(path, path.name)):
                return "descriptor"
    return "port"


def _json(path: Path, name: str) -> dict[str, object]:
    try:
        found = parse_json(text_of(path, name))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise StagingError(f"cannot read {name}: {error}") from None
    return found if isinstance(found, dict) else {}
