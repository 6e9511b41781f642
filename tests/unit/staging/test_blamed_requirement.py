"""Which line of which file an installer could not install. The outputs are uv's and pip's own, shortened."""

from pathlib import Path

import pytest

from reconciler.staging.environments.blamed_requirement import blamed
from reconciler.staging.installer_output import explained

FILES = {
    "requirements.txt": "# ours\nflask==2.0\n-r more/base.txt\nwerkzeug==1.0  # old\n",
    "more/base.txt": "djago = 3\nfastapii\nDjango==99\npsycopg2==2.8\ntwo words\n",
    "pyproject.toml": '[project]\ndependencies = [\n  "attrs-x>=1",\n]\n',
}


@pytest.mark.parametrize(
    ("output", "told"),
    [
        (
            (
                "error: Couldn't parse requirement in `requirements.txt` at position 0\n"
                '  cause: no such comparison operator "=", must be one of ~= ==\n         djago = 3\n               ^^^'
            ),
            "more/base.txt:1: 'djago = 3' is not a requirement: write 'djago==3'",
        ),
        (
            (
                "error: Couldn't parse requirement in `requirements.txt` at position 0\n"
                "  cause: Expected one of `@`, `(`, found `w`\n         two words\n             ^"
            ),
            "more/base.txt:5: 'two words' is not a requirement: Expected one of `@`, `(`, found `w`",
        ),
        (
            (
                "error: No solution found when resolving dependencies\n  cause: Because fastapii was not found in the"
                " package registry and you require fastapii, we can conclude that your requirements are unsatisfiable."
            ),
            "more/base.txt:2: no package named 'fastapii' in the registry",
        ),
        (
            (
                "error: No solution found when resolving dependencies\n  cause: Because nothing was not found in the"
                " package registry and flask==2.0 depends on nothing, we can conclude that your requirements are"
            ),
            "no package named 'nothing' in the registry (flask==2.0 depends on nothing)",
        ),
        (
            (
                "error: No solution found when resolving dependencies\n  cause: Because there is no version of"
                " django==99 and you require django==99, we can conclude that your requirements are unsatisfiable."
            ),
            "more/base.txt:3: there is no version of django==99 in the registry",
        ),
        (
            (
                "error: No solution found when resolving dependencies\n"
                "  cause: you require attrs-x<4 and attrs-x>=5, which are incompatible"
            ),
            "pyproject.toml:3: you require attrs-x<4 and attrs-x>=5, which are incompatible",
        ),
        (
            (
                "error: No solution found when resolving dependencies\n"
                "  cause: Because flask==2.0.0 depends on werkzeug>=2.0 and you require flask==2.0, we can conclude"
                " that you require werkzeug>=2.0.\n         And because you require werkzeug==1.0, we can conclude"
                " that your requirements are unsatisfiable."
            ),
            (
                "requirements.txt:2, requirements.txt:4: Because flask==2.0.0 depends on werkzeug>=2.0 and you require"
                " flask==2.0; because you require werkzeug==1.0"
            ),
        ),
        (
            "error: Failed to build `psycopg2==2.8`\n  cause: The build backend returned an error",
            "more/base.txt:4: Failed to build `psycopg2==2.8`: The build backend returned an error",
        ),
        (
            "ERROR: Could not find a version\nERROR: No matching distribution found for fastapii",
            "more/base.txt:2: no package 'fastapii' in the registry for this Python",
        ),
        (
            (
                "ERROR: Could not find a version that satisfies the requirement Django==99 (from versions: 1.0, 9.9)\n"
                "ERROR: No matching distribution found for Django==99"
            ),
            "more/base.txt:3: no version of Django==99 in the registry for this Python",
        ),
        (
            (
                "WARNING: Retrying (Retry(total=0, connect=None)) after connection broken by"
                " 'NewConnectionError('Failed to establish a new connection: Name or service not known',)': /simple/\n"
                "ERROR: Could not find a version that satisfies the requirement flask==2.0 (from versions: none)\n"
                "ERROR: No matching distribution found for flask==2.0"
            ),
            "requirements.txt:2: the registry cannot be reached for flask==2.0",
        ),
        (
            (
                "  Complete output (5 lines):\n      from setuptools import setup, Extension, Feature\n"
                "  ImportError: cannot import name 'Feature'\n  ----------------------------------------\n"
                "ERROR: Could not find a version that satisfies the requirement werkzeug==1.0 (from versions: 1, 1.0)\n"
                "ERROR: No matching distribution found for werkzeug==1.0"
            ),
            "requirements.txt:4: cannot build werkzeug==1.0: ImportError: cannot import name 'Feature'",
        ),
        ("error: No space left on device (os error 28)", ""),
    ],
)
def test_the_requirement_to_blame_is_named_with_its_file_and_line(output: str, told: str, tmp_path: Path) -> None:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    lines = output.splitlines()
    assert blamed(lines, explained(lines), tmp_path, tuple(FILES)) == told
