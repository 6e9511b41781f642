"""Files that other platforms act on are named as ignored, with what to use instead."""

from pathlib import Path

import pytest

from reconciler.planning.apps.revision import Recipe
from reconciler.staging.detection.dependencies import DependencyOptions, dependencies
from reconciler.staging.detection.runtimes import Runtime
from reconciler.staging.detection.selection import select
from reconciler.staging.detection.unread import UNREAD, UNREAD_PACKAGES, unread_files

ROOT = Path(__file__).parents[3]
HOST = (Runtime(name="python3.12", description="Python 3.12.1", version="3.12.1", path="/usr/bin/python3.12"),)
RELEASE = "it does not run; use the field 'release'"
CONDA = "staging does not use conda; list the packages in requirements.txt"


def plant(directory: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return directory


@pytest.mark.parametrize(
    ("files", "reported"),
    [
        ({"requirements.txt": ""}, []),
        ({"bin/post_compile": "x", "requirements.txt": ""}, [f"bin/post_compile ({RELEASE})"]),
        ({"environment.yml": "name: x"}, [f"environment.yml ({CONDA})"]),
        ({"environment.yml": "name: x", "requirements.txt": ""}, [f"environment.yml ({CONDA})"]),
        (
            {"pdm.lock": "", "pyproject.toml": "[project]\nname = 'x'\nversion = '1'\n"},
            ["pdm.lock (staging does not use PDM; run `pdm export --output requirements.txt`)"],
        ),
        (
            {"requirements/production.txt": "", "requirements/base.txt": ""},
            [
                "requirements/base.txt (name it in the field 'dependencies')",
                "requirements/production.txt (name it in the field 'dependencies')",
            ],
        ),
        ({"requirements/production.txt": "", "requirements.txt": "-r requirements/production.txt"}, []),
        ({"requirements-dev.txt": ""}, ["requirements-dev.txt (name it in the field 'dependencies')"]),
        ({"requirements.in": ""}, ["requirements.in (compile it to requirements.txt, with `uv pip compile`)"]),
        ({"requirements.in": "", "requirements.txt": ""}, []),
        ({"package.json": '{"scripts": {"build": "vite"}}'}, [
            "the build script of package.json (it does not run; build the front end before the source is copied)"
        ]),
        ({"package.json": '{"scripts": {"lint": "eslint"}}'}, []),
        ({"package.json": "[" * 9000}, []),
        ({"manifest.yml": "---\napplications:\n- name: shop\n"}, [
            "manifest.yml of Cloud Foundry (write what it says in the app's manifest, field by field)"
        ]),
        ({"manifest.yml": "name: ours\n"}, []),
    ],
)  # fmt: skip
def test_a_file_that_is_not_read_is_named(tmp_path: Path, files: dict[str, str], reported: list[str]) -> None:
    code = plant(tmp_path, {"wsgi.py": "application = 1\n", **files})
    assert list(select(code, Recipe(), HOST).entry.reported) == reported


@pytest.mark.parametrize(
    ("text", "imports"),
    [
        ("import flask, os\nfrom shop import x\n", "flask"),
        ("import os, shop, gunicorn\n", ""),
        ("from django.core.wsgi import get_wsgi_application as f\nimport numpy as n\n", "django, numpy"),
    ],
)
def test_what_an_app_without_a_dependency_file_imports_is_told(tmp_path: Path, text: str, imports: str) -> None:
    code = plant(tmp_path, {"wsgi.py": f"{text}application = 1\n", "shop/__init__.py": ""})
    expected = f"no dependency file was found, but wsgi.py imports {imports}" if imports else ""
    assert select(code, Recipe(), HOST).missing == expected
    plant(code, {"requirements.txt": ""})
    assert select(code, Recipe(), HOST).missing == ""


def test_the_documentation_lists_each_of_them(tmp_path: Path) -> None:
    text = (ROOT / "docs/reference/staging.md").read_text(encoding="utf-8")
    assert [name for name in (*UNREAD, *UNREAD_PACKAGES) if f"`{name}`" not in text] == []


def test_the_files_beside_the_dependency_file_are_looked_at_too(tmp_path: Path) -> None:
    code = plant(tmp_path, {"api/requirements.txt": "", "api/nltk.txt": "", "api/environment.yml": ""})
    found = dependencies(code, DependencyOptions(file="api/requirements.txt"))
    assert [each.partition(" ")[0] for each in unread_files(code, found)] == [
        "api/nltk.txt",
        "api/environment.yml",
    ]


def test_a_build_command_that_does_not_run_is_named(tmp_path: Path) -> None:
    code = plant(tmp_path, {"wsgi.py": "def application(environ, start_response): ...\n"})
    told = "`build` of the manifest (it does not run where gunicorn serves; build before the source is copied)"
    assert list(select(code, Recipe(build=("make",)), HOST).entry.reported) == [told]
