"""An import that fails is told with the package to add, and only where a package can have what is missing."""

import pytest

from reconciler.planning.absent_packages import REMOVED_MODULES, package_advice
from reconciler.planning.program_output import last_words

WHERE = "requirements.txt, or to where else the app lists its dependencies"
TRACEBACK = ("Traceback (most recent call last):", '  File "/x/setup.py", line 1, in <module>')
NO_YAML = "ModuleNotFoundError: No module named 'yaml'"


@pytest.mark.parametrize(
    ("said", "package"),
    [
        (NO_YAML, "PyYAML"),
        ("ModuleNotFoundError: No module named 'PIL' (shop/models.py:7)", "Pillow"),
        ("ImportError: No module named MySQLdb (wsgi.py:1)", "mysqlclient"),  # Python 2
    ],
)
def test_a_package_of_another_name_than_its_module_is_named(said: str, package: str) -> None:
    assert package_advice(said) == f"; {package} has it: add that to {WHERE}"


def test_a_module_of_no_known_package_may_be_the_apps_own() -> None:
    advice = package_advice("ModuleNotFoundError: No module named 'pandas' (wsgi.py:1)")
    assert advice == f"; if it is not a module of the app's own, add the package that has it to {WHERE}"


@pytest.mark.parametrize(
    "said",
    [
        "",
        "KeyError: 'yaml'",
        "ModuleNotFoundError: No module named 'shop.views' (shop/urls.py:2)",  # its package was found
        "ModuleNotFoundError: No module named 'mian'; the app has no such module: correct `entrypoint`",
        *(f"ModuleNotFoundError: No module named '{name}'" for name in sorted(REMOVED_MODULES)),
    ],
)
def test_nothing_is_advised_where_no_package_helps(said: str) -> None:
    assert package_advice(said) == ""


def test_what_an_installer_lacks_is_not_advised_to_the_app() -> None:
    assert last_words((*TRACEBACK, NO_YAML)) == NO_YAML
    assert last_words((*TRACEBACK, NO_YAML), "/x").endswith(f"(setup.py:1); PyYAML has it: add that to {WHERE}")
