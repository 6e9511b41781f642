"""Languages whose programs can serve an app, where they are on this host, and the package that brings each.

Debian's names are given for the packages, which most distributions share or resemble. Nothing is installed.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from reconciler.linux.bounded_output import output_of
from reconciler.linux.dataclass import dataclass

# Where the programs of an instance are looked for, after those of its own build.
SEARCHED = "/usr/local/bin:/usr/bin:/bin"
_BESIDE = ":/usr/local/sbin:/usr/sbin:/usr/local/go/bin"
_WITHIN_S = 10.0
_MOST_SAID = 64 * 1024
_VERSION = re.compile(r"(?<!\d)\d{1,9}(?:\.\d{1,9})+(?:[-+_.]?\w+)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Language:
    """A language: the program that runs it, how that tells its version, and the other programs that belong to it."""

    name: str
    title: str
    program: str
    package: str
    asks: tuple[str, ...] = ("--version",)
    others: Mapping[str, str]


LANGUAGES = (
    Language(
        name="node",
        title="Node.js",
        program="node",
        package="nodejs",
        others={"nodejs": "nodejs", "npm": "npm", "npx": "npm", "yarn": "yarnpkg", "pnpm": "", "bun": "", "deno": ""},
    ),
    Language(
        name="ruby",
        title="Ruby",
        program="ruby",
        package="ruby",
        others={
            "puma": "puma", "bundle": "ruby-bundler", "rackup": "ruby-rack", "rails": "rails", "thin": "thin",
            "unicorn": "unicorn", "rake": "rake", "irb": "ruby", "falcon": "",
        },
    ),
    Language(
        name="php",
        title="PHP",
        program="php",
        package="php-cli",
        others={"php-fpm": "php-fpm", "composer": "composer", "frankenphp": ""},
    ),
    Language(
        name="java",
        title="Java",
        program="java",
        package="default-jre-headless",
        asks=("-version",),
        others={"javac": "default-jdk-headless", "mvn": "maven", "gradle": "gradle", "jbang": ""},
    ),
    Language(
        name="go", title="Go", program="go", package="golang-go", asks=("version",), others={"gofmt": "golang-go"},
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageOnHost:
    """A language that this host can run: `version` as it reports it, `path` with links resolved."""

    name: str
    description: str
    version: str
    path: str


def languages_on_host() -> tuple[LanguageOnHost, ...]:
    """Return every language that this host can run, but for Python. Each is run to learn its version; blocks."""
    from concurrent.futures import ThreadPoolExecutor  # to detect an app is to ask for no version of a language

    with ThreadPoolExecutor(max_workers=len(LANGUAGES), thread_name_prefix="language") as asked:
        return tuple(found for found in asked.map(_on_host, LANGUAGES) if found is not None)


def language_of(program: str) -> Language | None:
    """Return the language that a program belongs to, by its name; None if it stands for itself."""
    name = _plain(program)
    return next((each for each in LANGUAGES if name == each.program or name in each.others), None)


def runtime_of(program: str, environment: Mapping[str, str]) -> str:
    """Return what runs a program, with its version: `node 20.1.0`; its name where no language does. Blocks."""
    language = language_of(program)
    if language is None:
        return program.rpartition("/")[2]
    path = program if "/" in program and _plain(program) == language.program else language.program
    version = _version(shutil.which(path, path=environment.get("PATH", SEARCHED)), language.asks)
    return f"{language.name} {version}".strip()


def package_of(program: str) -> str:
    """Return the package that brings a program, "" if none is known."""
    language, name = language_of(program), _plain(program)
    if language is None:
        return {"make": "make", "gcc": "gcc", "perl": "perl", "caddy": "caddy", "git": "git"}.get(name, "")
    return language.package if name == language.program else language.others[name]


def how_to_install(program: str) -> str:
    """Return what to do about a program that is not on this host, as the end of a sentence."""
    package = package_of(program)
    if package:
        return f"install the package {package} (`apt install {package}` on Debian and Ubuntu)"
    return "install it, or name another program"


def missing_programs(
    *, build: Sequence[str], command: Sequence[str]
) -> Iterator[tuple[Literal["build", "command"], str]]:
    """Yield the programs of languages that this host lacks, each with the field of the manifest that names it.

    Only what is certain: a build may bring the program of its app.
    """
    named: tuple[tuple[Literal["build", "command"], Sequence[str]], ...] = (
        ("build", build),
        ("command", () if build else command),
    )
    for field, words in named:
        name = words[0] if words else ""
        if name and "/" not in name and language_of(name) is not None and shutil.which(name, path=SEARCHED) is None:
            yield field, name


def _plain(program: str) -> str:
    """Return the name of a program without its directory and version: php-fpm8.2 is php-fpm."""
    return re.sub(r"(?<=[a-z])-?[\d.]+$", "", program.rpartition("/")[2])


def _on_host(language: Language) -> LanguageOnHost | None:
    found = shutil.which(language.program, path=f"{os.environ.get('PATH', SEARCHED)}:{SEARCHED}{_BESIDE}")
    version = _version(found, language.asks)
    if found is None or not version:
        return None
    description = f"{language.title} {version}"
    return LanguageOnHost(name=language.name, description=description, version=version, path=os.path.realpath(found))


def _version(program: str | None, asks: tuple[str, ...]) -> str:
    if program is None:
        return ""
    try:
        _, said = output_of([program, *asks], within_s=_WITHIN_S, at_most=_MOST_SAID, stderr=subprocess.STDOUT)
    except (OSError, subprocess.SubprocessError):
        return ""
    found = _VERSION.search(said.decode("utf-8", "replace"))
    return found[0] if found is not None else ""
