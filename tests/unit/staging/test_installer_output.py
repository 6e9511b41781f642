"""What an installer wrote of its failure, in one line. The outputs are uv's and pip's own, shortened."""

import pytest

from reconciler.staging.installer_output import explained

BUILD = """\
   Building psycopg2==2.8
error: Failed to build `psycopg2==2.8`
  cause: The build backend returned an error
  cause: Call to `setuptools.build_meta:__legacy__.build_wheel` failed (exit status: 1)

         [stdout]
         running bdist_wheel
         gcc -fno-strict-overflow -c psycopg/psycopgmodule.c

         [stderr]
         Traceback (most recent call last):
           File "<string>", line 14, in <module>
             requires = get_requires_for_build({})
                        ~~~~~~~~~~~~~~~~~~~~~~^^^^
         ModuleNotFoundError: No module named 'nothere'

         hint: Build failures usually indicate a problem with the package"""


@pytest.mark.parametrize(
    ("output", "told"),
    [
        (
            BUILD,
            (
                "Failed to build `psycopg2==2.8`: ModuleNotFoundError: No module named 'nothere':"
                " hint: Build failures usually indicate a problem with the package"
            ),
        ),
        (
            (
                "error: No solution found when resolving dependencies\n"
                "  cause: Because flask==2.0.0 depends on werkzeug>=2.0 and you require flask==2.0, we can conclude.\n"
                "         And because you require werkzeug==1.0, we can conclude."
            ),
            (
                "No solution found when resolving dependencies: Because flask==2.0.0 depends on werkzeug>=2.0 and you"
                " require flask==2.0, we can conclude. And because you require werkzeug==1.0, we can conclude"
            ),
        ),
        (
            "ERROR: Could not find a version (from versions: none)\nERROR: No matching distribution found for fastapii",
            "No matching distribution found for fastapii",
        ),
        (
            "error: Git operation failed\n  cause: failed to clone\n         --- stderr\n         fatal: no such host",
            "Git operation failed: failed to clone: fatal: no such host",
        ),
        ("", ""),
    ],
)
def test_an_error_is_told_with_its_causes_and_the_last_words_of_a_build(output: str, told: str) -> None:
    assert explained(output.splitlines()) == told
