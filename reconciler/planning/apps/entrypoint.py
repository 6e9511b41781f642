"""The form of an entry point: a module, and the name of an app or a call that makes one."""

import ast

FORM = "module:callable or module:factory(arguments), such as wsgi:application"


def is_well_formed(entrypoint: str) -> bool:
    """Tell whether the part behind the module is a name, or a call of a name, which is all that gunicorn loads."""
    callable_ = expression(entrypoint)
    called = callable_.func if isinstance(callable_, ast.Call) else callable_
    while isinstance(called, ast.Attribute):
        called = called.value
    return isinstance(called, ast.Name)


def is_plain(entrypoint: str) -> bool:
    """Tell whether gunicorn 20 and newer load it as well: an undotted name, called with plain values only."""
    callable_ = expression(entrypoint)
    if not isinstance(callable_, ast.Call):
        return isinstance(callable_, ast.Name)
    values = [*callable_.args, *(keyword.value for keyword in callable_.keywords)]
    named = all(keyword.arg is not None for keyword in callable_.keywords)
    return isinstance(callable_.func, ast.Name) and named and all(map(_is_literal, values))


def expression(entrypoint: str) -> ast.expr | None:
    """Return the part behind the module as an expression; None if it is none."""
    try:
        return ast.parse(entrypoint.partition(":")[2].strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _is_literal(value: ast.expr) -> bool:
    try:
        ast.literal_eval(value)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return False
    return True
