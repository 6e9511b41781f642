"""Find the environment variables that an app cannot be imported without, from the text of its files; nothing is run.

Only what runs with certainty on import counts: no function, no branch, nothing whose failure is caught.
"""

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

from reconciler.linux.dataclass import dataclass
from reconciler.staging.detection.modules import Scope, dotted, read
from reconciler.staging.detection.reached import candidates, names_settings, reached_files, settings_modules
from reconciler.staging.detection.static_files import manage_of
from reconciler.staging.detection.syntax import Unparsed, parsed
from reconciler.staging.detection.target import EntryPoint
from reconciler.staging.errors import StagingError
from reconciler.staging.source.reading import read_source

# Packages whose readers fail for a variable that is not set and has no default.
_READERS = ("environ.", "environs.", "decouple.", "starlette.config.")
_OTHER_METHODS = ("read_env", "read_envfile", "prefixed", "seal", "dump")
_SETTINGS_BASES = ("BaseSettings", "pydantic_settings.BaseSettings", "pydantic.BaseSettings")
_OPTIONAL_READS = ("os.environ.get", "os.getenv", "environ.get", "getenv")
# Of a host that nothing but itself reaches, as requests name it.
_LOCAL = "localhost,127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """A variable that the app needs, a value that may do ("" if there is none), and where it is read."""

    name: str
    file: str
    value: str = ""


def required_variables(code: Path, entry: EntryPoint) -> tuple[Variable, ...]:
    """Return the variables that the files of an app require, in the order in which they are read."""
    found: dict[str, Variable] = {}
    manage = manage_of(code, entry.chdir)
    if manage is not None and not names_settings(code, entry):
        file = manage.relative_to(code).as_posix()
        likely = next(iter(candidates(manage.parent)), "")
        found["DJANGO_SETTINGS_MODULE"] = Variable(name="DJANGO_SETTINGS_MODULE", file=file, value=likely)
    settings = settings_modules(code, entry)[:1]
    given = _in_dotenv(code / entry.chdir)
    for path, top in reached_files(code, entry):
        for name, value in _of_file(path, top, of_django=bool(settings)):
            if name not in given:
                found.setdefault(name, Variable(name=name, file=path.relative_to(code).as_posix(), value=value))
    return tuple(found.values())


def _of_file(path: Path, top: Path, *, of_django: bool) -> Iterator[tuple[str, str]]:
    try:
        body = parsed(read_source(path, path.name), path.name)
        names = [(name, "") for name in _reads(body, read(path, top))]
        if of_django:
            names += _of_django_settings(body)
    except (Unparsed, StagingError, OSError, RecursionError):  # one that is nested too deeply requires nothing for sure
        return
    yield from names


def _reads(body: Iterable[ast.stmt], scope: Scope) -> Iterator[str]:
    for statement in body:
        match statement:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.If() | ast.Try() | ast.TryStar():
                continue
            case ast.ClassDef():
                yield from _fields(statement)
                yield from _reads(statement.body, scope)
            case ast.With():
                yield from _reads(statement.body, scope)
            case _:
                yield from _in_expression(statement, scope)


def _in_expression(node: ast.AST, scope: Scope) -> Iterator[str]:
    if isinstance(node, ast.Lambda | ast.IfExp | ast.BoolOp):
        return
    match node:
        case ast.Subscript(value=value, slice=ast.Constant(value=str(name)), ctx=ast.Load()):
            if dotted(value) in {"os.environ", "environ"}:
                yield name
        case ast.Call(args=[ast.Constant(value=str(name))], keywords=keywords):
            if not any(each.arg in {"default", None} for each in keywords) and _is_reader(node, scope):
                yield name
        case _:
            pass
    for child in ast.iter_child_nodes(node):
        yield from _in_expression(child, scope)


def _is_reader(call: ast.Call, scope: Scope) -> bool:
    """Tell whether a call reads a variable: of decouple's `config`, or an object of one of the packages."""
    first, _, method = dotted(call.func).partition(".")
    if not first or method.startswith(_OTHER_METHODS) or (first == "os"):
        return False
    origin = f"{scope.imported.get(first, '')}."
    if origin.startswith("decouple.config"):
        return True
    maker = scope.maker(first)
    if maker is None or maker.keywords:  # keywords are defaults of django-environ
        return False
    made, _, rest = dotted(maker.func).partition(".")
    return f"{scope.imported.get(made, '')}.{rest}".startswith(_READERS)


def _fields(node: ast.ClassDef) -> Iterator[str]:
    """Yield the variables of the fields without a default of a class of pydantic's settings."""
    if not any(dotted(base) in _SETTINGS_BASES for base in node.bases):
        return
    prefix = _prefix(node)
    for statement in node.body:
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            name = statement.target.id
            plain = (
                not name.startswith("_") and name != "model_config" and "ClassVar" not in ast.dump(statement.annotation)
            )
            if plain and (statement.value is None or _is_required_field(statement.value)):
                yield _alias(statement.value) or f"{prefix}{name}".upper()


def _prefix(node: ast.ClassDef) -> str:
    for part in ast.walk(node):
        if isinstance(part, ast.keyword) and part.arg == "env_prefix" and isinstance(part.value, ast.Constant):
            return str(part.value.value)
        if isinstance(part, ast.Assign) and any(dotted(target) == "env_prefix" for target in part.targets):
            return str(part.value.value) if isinstance(part.value, ast.Constant) else ""
    return ""


def _is_required_field(value: ast.expr) -> bool:
    if isinstance(value, ast.Constant):
        return value.value is ...
    if not isinstance(value, ast.Call) or dotted(value.func).rpartition(".")[2] != "Field":
        return False
    if value.args:
        return isinstance(value.args[0], ast.Constant) and value.args[0].value is ...
    return not any(each.arg in {"default", "default_factory"} for each in value.keywords)


def _alias(value: ast.expr | None) -> str:
    keywords = value.keywords if isinstance(value, ast.Call) else ()
    names = {each.arg: each.value.value for each in keywords if isinstance(each.value, ast.Constant)}
    found = names.get("validation_alias") or names.get("alias") or names.get("env")
    return found if isinstance(found, str) else ""


def _of_django_settings(body: list[ast.stmt]) -> Iterator[tuple[str, str]]:
    """Yield what Django itself cannot do without: a secret key, and the hosts that requests may name."""
    for statement in body:
        if isinstance(statement, ast.Assign) and any(dotted(target) == "SECRET_KEY" for target in statement.targets):
            name = _without_default(statement.value)
            if name:
                yield name, ""
    for part in (part for statement in body for part in ast.walk(statement)):
        if isinstance(part, ast.Call) and dotted(part.func) in _OPTIONAL_READS and part.args:
            name = _text(part.args[0])
            if name.endswith("ALLOWED_HOSTS") and "*" not in "".join(map(_text, part.args[1:])):
                yield name, _LOCAL


def _without_default(value: ast.expr) -> str:
    """Return the variable of `os.environ.get("KEY")`, `os.getenv("KEY", "")` or `os.getenv("KEY") or None`."""
    if isinstance(value, ast.BoolOp) and all(_is_nothing(each) for each in value.values[1:]):
        value = value.values[0]
    if not isinstance(value, ast.Call) or dotted(value.func) not in _OPTIONAL_READS or not value.args:
        return ""
    name, *defaults = value.args
    return _text(name) if not value.keywords and all(map(_is_nothing, defaults)) else ""


def _text(value: ast.expr) -> str:
    return value.value if isinstance(value, ast.Constant) and isinstance(value.value, str) else ""


def _is_nothing(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and not value.value


def _in_dotenv(directory: Path) -> frozenset[str]:
    """Return the variables that a `.env` of the code sets, which most of these packages read."""
    try:
        lines = read_source(directory / ".env", ".env").decode("utf-8", "replace").splitlines()
    except (OSError, StagingError):
        return frozenset()
    return frozenset(line.removeprefix("export ").partition("=")[0].strip() for line in lines if "=" in line)
