"""Reduce a large Python file, on standard input, to what decides which app it serves: names, imports, signatures.

A script, run as `python -I -S outline.py SECONDS BYTES` with these limits of processor time and memory, as parsing
takes a thousand bytes for one. It ends with an error where it is not Python, or takes more.
"""

import ast
import resource
import sys


def outlined(body: "list[ast.stmt]") -> "list[ast.stmt]":  # noqa: C901  one branch for each statement
    """Return the statements that bind something, without what is done there."""
    kept: list[ast.stmt] = []
    for statement in body:
        if isinstance(statement, (ast.Import, ast.ImportFrom, ast.Return)):
            kept.append(statement)
        elif isinstance(statement, (ast.Assign, ast.AnnAssign)):
            if not isinstance(statement.value, (ast.Call, ast.Name)):
                statement.value = ast.Constant(value=None)
            kept.append(statement)
        elif isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            statement.body = outlined(statement.body) or [ast.Pass()]
            statement.decorator_list = []
            kept.append(statement)
        elif isinstance(statement, (ast.If, ast.With, ast.Try)):
            for field in ("body", "orelse", "finalbody"):
                if getattr(statement, field, None):
                    setattr(statement, field, outlined(getattr(statement, field)) or [ast.Pass()])
            for handler in getattr(statement, "handlers", ()):
                handler.body = outlined(handler.body) or [ast.Pass()]
            kept.append(statement)
        elif isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
            kept.append(statement)
    return kept


if __name__ == "__main__":
    seconds, memory = int(sys.argv[1]), int(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    module = ast.parse(sys.stdin.buffer.read())
    module.body = outlined(module.body)
    sys.stdout.write(ast.unparse(module))
