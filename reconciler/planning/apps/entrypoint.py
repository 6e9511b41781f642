"""The form of an entry point: a module, and the name of an app or a call that makes one."""

import ast

FORM = "module:callable, module:factory(arguments) or module:Class(arguments).method(), such as wsgi:application"


def is_well_formed(entrypoint: str) -> bool:
    """Tell whether the part behind the module is a name, or calls and attributes that begin with one."""
    part = expression(entrypoint)
    while isinstance(part, ast.Call | ast.Attribute):
        part = part.func if isinstance(part, ast.Call) else part.value
    return isinstance(part, ast.Name)


def is_self_contained(entrypoint: str) -> bool:
    """Tell whether every call in it is one with plain values, so that a module can be written that makes the app."""
    part = expression(entrypoint)
    while isinstance(part, ast.Call | ast.Attribute):
        if isinstance(part, ast.Call) and not _has_plain_values(part):
            return False
        part = part.func if isinstance(part, ast.Call) else part.value
    return isinstance(part, ast.Name)


def is_plain(entrypoint: str) -> bool:
    """Tell whether gunicorn 20 and newer load it as well: an undotted name, called with plain values only."""
    callable_ = expression(entrypoint)
    if not isinstance(callable_, ast.Call):
        return isinstance(callable_, ast.Name)
    return isinstance(callable_.func, ast.Name) and _has_plain_values(callable_)


def expression(entrypoint: str) -> ast.expr | None:
    """Return the part behind the module as an expression; None if it is none."""
    try:
        return ast.parse(entrypoint.partition(":")[2].strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _has_plain_values(call: ast.Call) -> bool:
    values = [*call.args, *(keyword.value for keyword in call.keywords)]
    return all(keyword.arg is not None for keyword in call.keywords) and all(map(_is_literal, values))


def _is_literal(value: ast.expr) -> bool:
    try:
        ast.literal_eval(value)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return False
    return True
