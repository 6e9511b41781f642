"""Which failures of a start another Python may not have."""

import pytest

from reconciler.serving.python_failures import depends_on_python


@pytest.mark.parametrize(
    "reason",
    [
        "ModuleNotFoundError: No module named 'distutils' (setup.py:1)",
        "ModuleNotFoundError: No module named 'asyncore'",
        "ImportError: No module named urllib2",
        "ImportError: cannot import name 'Mapping' from 'collections' (/usr/lib/python3.12/collections/__init__.py)",
        "AttributeError: module 'inspect' has no attribute 'getargspec' (wsgi.py:3)",
        "AttributeError: module 'collections.abc' has no attribute 'Hashable2'",
        "SyntaxError: Missing parentheses in call to 'print'. Did you mean print(...)? (wsgi.py:2)",
        "SyntaxError: multiple exception types must be parenthesized (wsgi.py:9)",
    ],
)
def test_what_another_python_has_or_understands_depends_on_it(reason: str) -> None:
    assert depends_on_python(reason)


@pytest.mark.parametrize(
    "reason",
    [
        "",
        "ModuleNotFoundError: No module named 'flask' (app.py:3)",
        "ImportError: cannot import name 'shop' from 'views' (views.py)",
        "AttributeError: module 'settings' has no attribute 'KEY'",
        "AttributeError: 'NoneType' object has no attribute 'x'",
        "SyntaxError: invalid syntax (wsgi.py:2)",
        "SyntaxError: '(' was never closed (wsgi.py:2)",
        "KeyError: 'distutils'",
    ],
)
def test_any_other_failure_does_not(reason: str) -> None:
    assert not depends_on_python(reason)
