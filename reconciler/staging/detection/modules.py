"""A Python file in, the names it binds and the kind of app each one is, out; nothing is imported or run.

What cannot be told from the text is `None`: a name that exists, of an unknown kind. Files of the same tree are followed
through their imports; a file this Python cannot parse (an older or a newer Python's) is only searched for names.
"""

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

Interface: TypeAlias = Literal["wsgi", "asgi"]

# What a call of it is, by its own name; and by its module's, for names that mean different things.
_MADE: Mapping[str, Interface] = {
    "flask.Flask": "wsgi",
    "bottle.Bottle": "wsgi",
    "bottle.default_app": "wsgi",
    "falcon.App": "wsgi",
    "falcon.API": "wsgi",
    "falcon.asgi.App": "asgi",
    "werkzeug.middleware.dispatcher.DispatcherMiddleware": "wsgi",
    "whitenoise.WhiteNoise": "wsgi",
    "webapp2.WSGIApplication": "wsgi",
    "cherrypy.Application": "wsgi",
    "cherrypy.tree.mount": "wsgi",
    "connexion.AsyncApp": "asgi",
    "django.core.wsgi.get_wsgi_application": "wsgi",
    "django.core.asgi.get_asgi_application": "asgi",
    "django.core.handlers.wsgi.WSGIHandler": "wsgi",
    "django.core.handlers.asgi.ASGIHandler": "asgi",
    "configurations.wsgi.get_wsgi_application": "wsgi",
    "channels.routing.ProtocolTypeRouter": "asgi",
    "channels.routing.get_default_application": "asgi",
    "fastapi.FastAPI": "asgi",
    "starlette.applications.Starlette": "asgi",
    "quart.Quart": "asgi",
    "litestar.Litestar": "asgi",
    "blacksheep.Application": "asgi",
    "sanic.Sanic": "asgi",
    "socketio.ASGIApp": "asgi",
    "socketio.WSGIApp": "wsgi",
    "asgiref.wsgi.WsgiToAsgi": "asgi",
    "a2wsgi.ASGIMiddleware": "wsgi",
    "a2wsgi.WSGIMiddleware": "asgi",
}
_METHODS: Mapping[str, Interface] = {"make_wsgi_app": "wsgi", "wsgifunc": "wsgi", "http_app": "asgi"}
_MOST_IMPORTS = 5
_DYNAMIC = re.compile(r"\bimport\s*\*|\bglobals\(|\bexec\(|\bsetattr\(|\bexecfile\(|def __getattr__\b")
_BOUND = re.compile(r"^(?:async\s+)?(?:def|class)\s+(\w+)|^(\w+)\s*(?::[^=]+)?=(?!=)", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    path: Path
    root: Path
    imports_left: int = _MOST_IMPORTS


def read(path: Path, root: Path) -> "Scope":
    """The top level of the file `path` of the tree `root`."""
    return _read(_Place(path=path, root=root))


def _read(place: _Place) -> "Scope":
    source = place.path.read_bytes()
    text = source.decode(errors="replace")
    try:
        scope = Scope(ast.parse(source).body, place)
    except (SyntaxError, ValueError, RecursionError):
        scope = Scope([], place)
        scope.bound = {match[1] or match[2]: None for match in _BOUND.finditer(text)}
        scope.complete = False
    else:
        scope.complete = _DYNAMIC.search(text) is None
    return scope


class Scope:
    """The names a file or a function binds; `complete` when there can be no others."""

    def __init__(self, body: list[ast.stmt], place: _Place, outer: "Scope | None" = None) -> None:
        self._place = place
        self.bound: dict[str, ast.AST | None] = dict(outer.bound) if outer else {}
        self.imported: dict[str, str] = dict(outer.imported) if outer else {}
        self._returns: ast.expr | None = None
        self.complete = True
        for statement in _top_level(body):
            self._bind(statement)

    @property
    def names(self) -> tuple[str, ...]:
        """Everything bound here that could be asked for."""
        return tuple(name for name in {**self.imported, **self.bound} if not name.startswith("_"))

    def has(self, name: str) -> bool:
        return name in self.bound or name in self.imported

    def interface(self, name: str) -> Interface | None:
        """What kind of app the object `name` is."""
        return self._of_name(name, frozenset())

    def made_by(self, name: str) -> Interface | None:
        """What kind of app a call of `name` returns."""
        return self._returned(name, frozenset())

    def apps(self) -> dict[str, Interface]:
        """The app objects bound here, apart from classes and imports."""
        found = {
            name: self.interface(name) for name, bound in self.bound.items() if not isinstance(bound, ast.ClassDef)
        }
        return {name: interface for name, interface in found.items() if interface and not name.startswith("_")}

    def _bind(self, statement: ast.stmt) -> None:
        match statement:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                self.bound[name] = statement
            case ast.Assign(targets=targets, value=value):
                for target in targets:
                    if isinstance(target, ast.Name):
                        # `app = wrap(app)` is what `app` was before, unless the wrapper says otherwise.
                        self.bound[target.id] = _Rebound(value, self.bound.get(target.id))
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
        parents = self._place.path.relative_to(self._place.root).parts[:-level]
        return ".".join((*parents, module)) if module else ".".join(parents)

    def _of_name(self, name: str, seen: frozenset[str]) -> Interface | None:
        if name in seen:
            return None
        bound = self.bound.get(name)
        if bound is None:
            return self._elsewhere(name, called=False)
        return self._of(bound, seen | {name})

    def _of(self, node: ast.AST, seen: frozenset[str]) -> Interface | None:
        match node:
            case _Rebound(value=value, before=before):
                first = value.args[0] if isinstance(value, ast.Call) and value.args else value
                if before is not None and isinstance(first, ast.Name) and first.id in seen:
                    return self._call(value, seen) or self._of(before, seen)
                return self._of(value, seen)
            case ast.FunctionDef(args=arguments):
                return "wsgi" if _positional(arguments) == 2 else None
            case ast.AsyncFunctionDef(args=arguments):
                return "asgi" if _positional(arguments) == 3 else None
            case ast.ClassDef():
                # The class itself as the callable: its instance is the answer.
                return "wsgi" if _method(node, "__init__", 3) and _method(node, "__iter__", 1) else None
            case ast.Name(id=name):
                return self._of_name(name, seen)
            case ast.Call():
                return self._call(node, seen)
            case _:
                return None

    def _call(self, node: ast.AST, seen: frozenset[str]) -> Interface | None:
        if not isinstance(node, ast.Call):
            return None
        callee = ast.unparse(node.func)
        first, _, rest = callee.partition(".")
        origin = self.imported.get(first, first)
        full = f"{origin}.{rest}" if rest else origin
        known = _MADE.get(full) or _of_framework(full) or _METHODS.get(callee.rpartition(".")[2])
        if known is None and not rest:
            known = self._returned(first, seen)
        if known is None and node.args:
            known = self._of(node.args[0], seen)  # middleware around an app is what the app is
        return known

    def _returned(self, name: str, seen: frozenset[str]) -> Interface | None:
        function = self.bound.get(name)
        if isinstance(function, ast.ClassDef):
            return _instance(function)
        if not isinstance(function, ast.FunctionDef):
            return self._elsewhere(name, called=True) if function is None else None
        local = Scope(function.body, self._place, self)
        return None if local._returns is None else local._of(local._returns, seen | {name})

    def _elsewhere(self, name: str, *, called: bool) -> Interface | None:
        origin = self.imported.get(name)
        if origin is None or self._place.imports_left == 0:
            return None
        module, _, attribute = origin.rpartition(".")
        path = find(module, self._place.root)
        if path is None:
            return None
        other = _read(replace(self._place, path=path, imports_left=self._place.imports_left - 1))
        return other.made_by(attribute) if called else other.interface(attribute)


def find(module: str, root: Path) -> Path | None:
    """The file of a dotted module name in the tree; None when it is not there."""
    if not module:
        return None
    base = root.joinpath(*module.split("."))
    for path in (base.with_name(f"{base.name}.py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None


class _Rebound(ast.AST):
    """A value given to a name, and what the name was bound to before."""

    __match_args__ = ("value", "before")

    def __init__(self, value: ast.expr, before: ast.AST | None) -> None:
        self.value = value
        self.before = before


def _top_level(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements that run when the body does, those inside `if`, `try` and `with` too."""
    for statement in body:
        if isinstance(statement, ast.If) and ast.unparse(statement.test) == "__name__ == '__main__'":
            continue
        yield statement
        for field in ("body", "handlers", "orelse", "finalbody"):
            if isinstance(statement, ast.If | ast.Try | ast.With):
                for inner in getattr(statement, field, ()):
                    yield from _top_level(inner.body if isinstance(inner, ast.ExceptHandler) else [inner])


def _positional(arguments: ast.arguments) -> int:
    return len(arguments.posonlyargs) + len(arguments.args) - len(arguments.defaults)


def _method(node: ast.ClassDef, name: str, arguments: int) -> bool:
    return any(
        isinstance(part, ast.FunctionDef) and part.name == name and _positional(part.args) == arguments
        for part in node.body
    )


def _instance(node: ast.ClassDef) -> Interface | None:
    """What an instance of the class is, by its `__call__`, or by the framework's class it extends."""
    for part in node.body:
        if isinstance(part, ast.FunctionDef) and part.name == "__call__" and _positional(part.args) == 3:
            return "wsgi"
        if isinstance(part, ast.AsyncFunctionDef) and part.name == "__call__" and _positional(part.args) == 4:
            return "asgi"
    bases = (ast.unparse(base).rpartition(".")[2] for base in node.bases)
    return next((kind for base in bases if (kind := _of_class_name(base))), None)


def _of_class_name(name: str) -> Interface | None:
    return next((kind for made, kind in _MADE.items() if made.endswith(f".{name}") and name not in _AMBIGUOUS), None)


def _of_framework(full: str) -> Interface | None:
    """`flask.app.Flask`, `starlette.Starlette`: the framework's own name from some other module of it."""
    package, name = full.partition(".")[0], full.rpartition(".")[2]
    return next(
        (kind for made, kind in _MADE.items() if made.startswith(f"{package}.") and made.endswith(f".{name}")), None
    )


_AMBIGUOUS = frozenset(("App", "Application", "mount"))
