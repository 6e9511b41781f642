"""Analyse a Python file: the names it binds, and the interface of each app among them; nothing is imported or run.

An interface that the text does not show is `None`: a name of an unknown kind. Imports are followed within the tree; a
file that this Python cannot parse (written for an older or newer one) is only searched for names.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import field, replace
from pathlib import Path

from reconciler.linux.dataclass import dataclass
from reconciler.staging.detection.frameworks import Interface, of_call, of_class_name
from reconciler.staging.detection.syntax import MOST_FILES, Effort, NotParsed, Unparsed, parsed, text_of_node
from reconciler.staging.source import allowance
from reconciler.staging.source.reading import read_source

# Factories by name, as `flask run` finds them, where the text does not show what they return.
_CONVENTIONAL_FACTORIES = ("create_app", "make_app")
_FACTORY_NAME = re.compile(r"(?:create|make|build|get)_(?:\w+_)?(?:app|application)")
_CONVENTIONAL_NAMES = frozenset(("application", "app"))
_MAX_IMPORTS = 5
_DYNAMIC = re.compile(r"\bimport\s*\*|\bglobals\(|\bexec\(|\bsetattr\(|\bexecfile\(|def __getattr__\b")
_BOUND = re.compile(r"^(?:async[ \t]+)?(?:def|class)[ \t]+(\w+)|^(\w+)[ \t]*(?::[^=\n]{1,500})?=(?!=)", re.MULTILINE)
_LARGEST = 4 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class _ModuleFile:
    path: Path
    root: Path
    imports_left: int = _MAX_IMPORTS
    effort: Effort = field(default_factory=Effort)


def read(path: Path, root: Path) -> "Scope":
    """Return the top-level scope of the file `path` in the tree `root`."""
    return _read(_ModuleFile(path=path, root=root))


def _read(file: _ModuleFile) -> "Scope":
    known = file.effort.scopes
    key = (file.path, file.imports_left)
    if key not in known:
        known[key] = _parsed(file) if len(known) < MOST_FILES else Scope([], file)
    return known[key]


def _parsed(file: _ModuleFile) -> "Scope":
    name = file.path.relative_to(file.root).as_posix()
    source = read_source(file.path, name, most=_LARGEST)
    text = source.decode(errors="replace")
    try:
        scope = Scope(parsed(source, name, is_one_of_many=True), file)
    except NotParsed:
        return _names_alone(file, text, parsed=True)  # as far as anything can tell
    except (Unparsed, RecursionError):
        return _names_alone(file, text, parsed=False)
    scope.complete = _DYNAMIC.search(text) is None
    return scope


def _names_alone(file: _ModuleFile, text: str, *, parsed: bool) -> "Scope":
    """Return the scope of a file of which only the names are known, as this Python cannot or may not parse it."""
    scope = Scope([], file)
    scope.bound = {match[1] or match[2]: None for match in _BOUND.finditer(text)}
    scope.complete, scope.parsed = False, parsed
    return scope


class Scope:
    """The names that a file or function binds.

    `complete` if it can bind no others, `parsed` if this Python can read it.
    """

    def __init__(self, body: list[ast.stmt], file: _ModuleFile, outer: "Scope | None" = None) -> None:
        self._file = file
        self._body = body
        self.bound: dict[str, ast.AST | None] = dict(outer.bound) if outer else {}
        self.imported: dict[str, str] = dict(outer.imported) if outer else {}
        self._returns: ast.expr | None = None
        self.complete = self.parsed = True
        for statement in _top_level(body):
            self._bind(statement)

    @property
    def names(self) -> tuple[str, ...]:
        """The public names."""
        return tuple(name for name in {**self.imported, **self.bound} if not name.startswith("_"))

    def has(self, name: str) -> bool:
        return name in self.bound or name in self.imported

    def interface(self, name: str) -> Interface | None:
        """Return the interface of the object `name`."""
        try:
            return self._interface_of_name(name, frozenset())
        except RecursionError:  # a chain of a thousand names
            return None

    def interface_of_call(self, name: str) -> Interface | None:
        """Return the interface of what a call of `name` returns."""
        try:
            return self._returned_interface(name, frozenset())
        except RecursionError:
            return None

    def interface_of_expression(self, node: ast.expr | None) -> Interface | None:
        """Return the interface of what an expression in this scope makes."""
        try:
            return None if node is None else self._interface_of(node, frozenset())
        except RecursionError:
            return None

    def apps(self) -> dict[str, Interface]:
        """Return the app objects bound here, without classes and imports."""
        found = {
            name: self.interface(name) for name, bound in self.bound.items() if not isinstance(bound, ast.ClassDef)
        }
        return {name: interface for name, interface in found.items() if interface and not name.startswith("_")}

    def imported_apps(self) -> dict[str, Interface]:
        """Return the app objects that are imported here under a name that apps have."""
        found = {name: self.interface(name) for name in (*sorted(_CONVENTIONAL_NAMES), "server", "api")}
        return {name: interface for name, interface in found.items() if interface and name in self.imported}

    def factories(self) -> dict[str, Interface]:
        """Return the functions that are called without arguments to get an app."""
        found: dict[str, Interface] = {}
        for name in (*self.bound, *self.imported):
            function = self.definition(name) if _FACTORY_NAME.fullmatch(name) else None
            if not isinstance(function, ast.FunctionDef) or required_arguments(function.args):
                continue
            interface = self.interface_of_call(name)
            if interface or name in _CONVENTIONAL_FACTORIES:
                found[name] = interface or "wsgi"
        return found

    def definition(self, name: str) -> ast.AST | None:
        """Return the function or class that a name stands for, followed through imports; None if it cannot be told."""
        bound = self.bound.get(name)
        if bound is None:
            other = self._imported_from(name)
            return None if other is None else other[0].definition(other[1])
        return bound if isinstance(bound, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) else None

    def runs_at(self) -> int | None:
        """Return the line on which the file starts a server of its own whenever it is imported; None if it does not."""
        return next((statement.lineno for statement in _top_level(self._body) if _starts_server(statement)), None)

    def _bind(self, statement: ast.stmt) -> None:
        match statement:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                self.bound[name] = statement
            case ast.Assign(targets=targets, value=value):
                for target in targets:
                    if isinstance(target, ast.Name):
                        # `app = wrap(app)` keeps the interface of `app`, unless the wrapper has its own.
                        self.bound[target.id] = _Rebound(value, self.bound.get(target.id))
                    elif isinstance(target, ast.Tuple) and target.elts and isinstance(target.elts[0], ast.Name):
                        # `app, route = fast_app()`: what makes several things makes the app first.
                        self.bound[target.elts[0].id] = value if isinstance(value, ast.Call) else None
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                self.bound[name] = value
            case ast.Import() | ast.ImportFrom():
                self._import(statement)
            case ast.Return(value=value):
                self._returns = value
            case _:
                pass

    def _import(self, statement: ast.Import | ast.ImportFrom) -> None:
        if isinstance(statement, ast.Import):
            for alias in statement.names:
                first = alias.name.partition(".")[0]
                self.imported[alias.asname or first] = alias.name if alias.asname else first
        else:
            origin = self._absolute(statement.module or "", statement.level)
            for alias in statement.names:
                self.imported[alias.asname or alias.name] = f"{origin}.{alias.name}".lstrip(".")

    def _absolute(self, module: str, level: int) -> str:
        if level == 0:
            return module
        parents = self._file.path.relative_to(self._file.root).parts[:-level]
        return ".".join((*parents, module)) if module else ".".join(parents)

    def _interface_of_name(self, name: str, seen: frozenset[str]) -> Interface | None:
        if name in seen or self._file.effort.is_too_much():
            return None
        bound = self.bound.get(name)
        if bound is None:
            return self._imported_interface(name, called=False)
        return self._interface_of(bound, seen | {name})

    def _interface_of(self, node: ast.AST, seen: frozenset[str]) -> Interface | None:
        match node:
            case _Rebound(value=value, before=before):
                first = value.args[0] if isinstance(value, ast.Call) and value.args else value
                if before is not None and isinstance(first, ast.Name) and first.id in seen:
                    return self._call_interface(value, seen) or self._interface_of(before, seen)
                return self._interface_of(value, seen)
            case ast.FunctionDef():
                return "wsgi" if _takes(node, 2, "start_response") else None
            case ast.AsyncFunctionDef():
                return "asgi" if _takes(node, 3, "send") else None
            case ast.ClassDef():
                # The class itself is the callable: its instance iterates over the response.
                return "wsgi" if _method(node, "__init__", 3) and _method(node, "__iter__", 1) else None
            case ast.Name(id=name):
                return self._interface_of_name(name, seen)
            case ast.Call():
                return self._call_interface(node, seen)
            case _:
                return None

    def _call_interface(self, node: ast.AST, seen: frozenset[str]) -> Interface | None:
        if not isinstance(node, ast.Call):
            return None
        callee = self._callee(node)
        first, _, rest = callee.partition(".")
        origin = self.imported.get(first, first)
        full = f"{origin}.{rest}" if rest else origin
        interface = of_call(full)
        if interface is None and not rest:
            interface = self._returned_interface(first, seen)
        if interface is None and rest:
            interface = self.interface_of_method(callee, seen)
        if interface is None and node.args:
            interface = self._interface_of(node.args[0], seen)  # middleware has the interface of the app it wraps
        return interface

    def _callee(self, node: ast.Call) -> str:
        """Return the dotted name of what is called; of a method of an object, that of its class and the method."""
        callee = dotted(node.func)
        first, _, rest = callee.partition(".")
        maker = self.maker(first) if rest else None
        return f"{dotted(maker.func)}.{rest}" if maker is not None else callee or text_of_node(node.func)

    def maker(self, name: str) -> ast.Call | None:
        """Return the call whose result a name is bound to."""
        bound = self.bound.get(name)
        value = bound.value if isinstance(bound, _Rebound) else bound
        return value if isinstance(value, ast.Call) else None

    def made_by_method(self, name: str) -> bool:
        """Tell whether a name is bound to what a method of an object returns: `Shop().app()`, `shop.app()`."""
        call = self.maker(name)
        if call is None or not isinstance(call.func, ast.Attribute):
            return False
        owner = call.func.value
        return isinstance(owner, ast.Call) or (isinstance(owner, ast.Name) and self.maker(owner.id) is not None)

    def _returned_interface(self, name: str, seen: frozenset[str]) -> Interface | None:
        function = self.bound.get(name)
        if isinstance(function, ast.ClassDef):
            return _instance_interface(function)
        if not isinstance(function, ast.FunctionDef):
            return self._imported_interface(name, called=True) if function is None else None
        return self._interface_of_body(function, seen | {name})

    def interface_of_method(self, callee: str, seen: frozenset[str]) -> Interface | None:
        """Return the interface of what a method of a class of the code returns, `Shop.app`."""
        name, _, method = callee.partition(".")
        if callee in seen or self._file.effort.is_too_much():
            return None
        bound = self.bound.get(name)
        if bound is None:
            found = self._imported_from(name)
            return None if found is None else found[0].interface_of_method(f"{found[1]}.{method}", seen)
        parts = bound.body if isinstance(bound, ast.ClassDef) else ()
        function = next((part for part in parts if isinstance(part, ast.FunctionDef) and part.name == method), None)
        return None if function is None else self._interface_of_body(function, seen | {callee})

    def _interface_of_body(self, function: ast.FunctionDef, seen: frozenset[str]) -> Interface | None:
        local = Scope(function.body, self._file, self)
        return None if local._returns is None else local._interface_of(local._returns, seen)

    def _imported_interface(self, name: str, *, called: bool) -> Interface | None:
        found = self._imported_from(name)
        if found is None:
            return None
        other, attribute = found
        return other.interface_of_call(attribute) if called else other.interface(attribute)

    def _imported_from(self, name: str) -> "tuple[Scope, str] | None":
        """Return the scope in the tree that a name is imported from, and its name there."""
        origin = self.imported.get(name)
        if origin is None or self._file.imports_left == 0:
            return None
        module, _, attribute = origin.rpartition(".")
        path = find(module, self._file.root)
        if path is None:
            return None
        return _read(replace(self._file, path=path, imports_left=self._file.imports_left - 1)), attribute


def find(module: str, root: Path) -> Path | None:
    """Return the file of a dotted module name in the tree; None if it does not exist."""
    allowance.check(module)
    if not module:
        return None
    base = root.joinpath(*module.split("."))
    for path in (base.with_name(f"{base.name}.py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None


class _Rebound(ast.AST):
    """A value assigned to a name, and the previous value of the name."""

    __match_args__ = ("value", "before")

    def __init__(self, value: ast.expr, before: ast.AST | None) -> None:
        self.value = value
        self.before = before


def _top_level(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements that run when the body does, including those inside `if`, `try` and `with`."""
    for statement in body:
        if isinstance(statement, ast.If) and text_of_node(statement.test) == "__name__ == '__main__'":
            continue
        yield statement
        for part in ("body", "handlers", "orelse", "finalbody"):
            if isinstance(statement, ast.If | ast.Try | ast.With):
                for inner in getattr(statement, part, ()):
                    yield from _top_level(inner.body if isinstance(inner, ast.ExceptHandler) else [inner])


def dotted(node: ast.AST | None) -> str:
    """Return the names in an expression, without the calls between: `Shop.app` of `Shop(1).app()`; "" for others."""
    names: list[str] = []
    while isinstance(node, ast.Call | ast.Attribute):
        if isinstance(node, ast.Attribute):
            names.insert(0, node.attr)
        node = node.func if isinstance(node, ast.Call) else node.value
    return ".".join((node.id, *names)) if isinstance(node, ast.Name) else ""


def _positional(arguments: ast.arguments) -> int:
    return len(arguments.posonlyargs) + len(arguments.args) - len(arguments.defaults)


def required_arguments(arguments: ast.arguments) -> int:
    """Return how many arguments a call has to give."""
    return _positional(arguments) + sum(default is None for default in arguments.kw_defaults)


def _takes(node: ast.FunctionDef | ast.AsyncFunctionDef, arguments: int, last: str) -> bool:
    """Tell whether a function with so many arguments is an app: by its name, or by what it does with the last one.

    Any other function may have as many.
    """
    if _positional(node.args) != arguments:
        return False
    if node.name in _CONVENTIONAL_NAMES:
        return True
    name = [*node.args.posonlyargs, *node.args.args][arguments - 1].arg
    expected = 1 if last == "send" else 2
    return name == last or any(
        isinstance(part, ast.Call)
        and isinstance(part.func, ast.Name)
        and part.func.id == name
        and len(part.args) >= expected
        for part in ast.walk(node)
    )


def _starts_server(statement: ast.stmt) -> bool:
    """Tell whether a statement is a call that serves an app and only returns at the end."""
    if not isinstance(statement, ast.Expr) or not isinstance(statement.value, ast.Call):
        return False
    callee = text_of_node(statement.value.func)
    return callee.endswith((".serve_forever", ".run_app")) or callee in {
        "app.run", "application.run", "server.run", "uvicorn.run", "waitress.serve", "serve", "bottle.run", "run",
        "run_simple", "socketio.run", "hypercorn.run",
    }  # fmt: skip


def _method(node: ast.ClassDef, name: str, arguments: int) -> bool:
    return any(
        isinstance(part, ast.FunctionDef) and part.name == name and _positional(part.args) == arguments
        for part in node.body
    )


def _instance_interface(node: ast.ClassDef) -> Interface | None:
    """Return the interface of the class's instances, by its `__call__` or the framework class it extends."""
    for part in node.body:
        if isinstance(part, ast.FunctionDef) and part.name == "__call__" and _positional(part.args) == 3:
            return "wsgi"
        if isinstance(part, ast.AsyncFunctionDef) and part.name == "__call__" and _positional(part.args) == 4:
            return "asgi"
    bases = (text_of_node(base).rpartition(".")[2] for base in node.bases)
    return next((kind for base in bases if (kind := of_class_name(base))), None)
