"""Dataclasses whose methods are compiled when they are first called.

The standard decorator compiles six functions for each class while its module is loaded. A daemon loads hundreds of
classes and calls few of their functions: this was two fifths of the time that its modules took to load.
"""

import sys
from collections.abc import Callable
from dataclasses import MISSING, Field, FrozenInstanceError, fields
from dataclasses import dataclass as standard
from reprlib import recursive_repr
from typing import TYPE_CHECKING, Any

__all__ = ["dataclass"]

if TYPE_CHECKING:
    from dataclasses import dataclass
else:

    def dataclass(*, frozen=False, eq=True, order=False, slots=False, kw_only=False):
        """Return a decorator that makes a dataclass as the standard one does, of the options that are used here."""

        def decorated(cls):
            if order:
                return standard(frozen=frozen, eq=eq, order=order, slots=slots, kw_only=kw_only)(cls)
            cls.__doc__ = cls.__doc__ or cls.__name__  # the standard one would compose it of the signature
            made = standard(init=False, repr=False, eq=False, slots=slots, kw_only=kw_only)(cls)
            _complete(made, frozen=frozen, eq=eq, slots=slots)
            return made

        return decorated


class _Uncompiled:
    """A method of a class until it is first looked up."""

    __slots__ = ("_cls", "_compiled", "_name")

    def __init__(self, cls: type, name: str, compiled: Callable[[type], Any]) -> None:
        self._cls = cls
        self._name = name
        self._compiled = compiled

    def __get__(self, instance: object, owner: type) -> Any:
        function = self._compiled(self._cls)
        function.__qualname__ = f"{self._cls.__qualname__}.{self._name}"
        setattr(self._cls, self._name, function)
        return function.__get__(instance, owner)


def _complete(cls: type, *, frozen: bool, eq: bool, slots: bool) -> None:
    """Give a class what it has not written itself."""
    own = vars(cls)
    lazily = {"__init__": _init if frozen else _init_of_changeable}
    methods: dict[str, Any] = {"__repr__": _repr}
    if eq:
        lazily["__eq__"] = _eq
        hashable = own.get("__hash__") is not None or ("__hash__" in own and "__eq__" not in own)
        if frozen and not hashable:
            lazily["__hash__"] = _hash
        elif not hashable:
            methods["__hash__"] = None
    if frozen:
        methods |= {"__setattr__": _setattr_of(cls), "__delattr__": _delattr_of(cls)}
        if slots:
            methods |= {"__getstate__": _getstate, "__setstate__": _setstate}
    methods |= {name: _Uncompiled(cls, name, compiled) for name, compiled in lazily.items()}
    for name, method in methods.items():
        if name not in own or (name == "__hash__" and own[name] is None):
            setattr(cls, name, method)


def _init_of_changeable(cls: type) -> Any:
    return _init(cls, "self.{name} = {value}")


def _init(cls: type, assigned: str = "_set(self, {name!r}, {value})") -> Any:
    known: dict[str, Any] = {"_set": object.__setattr__, "_made": object()}
    body: list[str] = []
    by_place: list[str] = ["self"]
    by_name: list[str] = []
    for each in fields(cls):
        default = _value_of(each, known)
        value = default
        if each.init:
            value = each.name
            if default.endswith(")"):
                value = f"{default} if {each.name} is _made else {each.name}"
                default = "_made"
            (by_name if each.kw_only else by_place).append(f"{each.name}={default}" if default else each.name)
        if value:
            body.append(assigned.format(name=each.name, value=value))
    if hasattr(cls, "__post_init__"):
        body.append("self.__post_init__()")
    parameters = ", ".join([*by_place, *(["*", *by_name] if by_name else [])])
    init = _function(cls, f"__init__({parameters})", body or ["pass"], known)
    init.__annotations__ = {each.name: each.type for each in fields(cls) if each.init} | {"return": None}
    return init


def _value_of(each: Field[Any], known: dict[str, Any]) -> str:
    """Return how a field's value is written where none is given, empty where one must be."""
    if each.default is not MISSING:
        known[f"_default_{each.name}"] = each.default
        return f"_default_{each.name}"
    if each.default_factory is not MISSING:
        known[f"_factory_{each.name}"] = each.default_factory
        return f"_factory_{each.name}()"
    return ""


def _eq(cls: type) -> Any:
    mine, others = (_tuple(cls, of, lambda each: each.compare) for of in ("self", "other"))
    body = [f"return {mine} == {others} if other.__class__ is self.__class__ else NotImplemented"]
    return _function(cls, "__eq__(self, other)", body, {})


def _hash(cls: type) -> Any:
    mine = _tuple(cls, "self", lambda each: each.compare if each.hash is None else each.hash)
    return _function(cls, "__hash__(self)", [f"return hash({mine})"], {})


def _tuple(cls: type, of: str, counts: Callable[[Field[Any]], bool | None]) -> str:
    return f"({''.join(f'{of}.{each.name}, ' for each in fields(cls) if counts(each))})"


def _function(cls: type, signature: str, body: list[str], known: dict[str, Any]) -> Any:
    """Return a function of the module of the class that knows some names of its own."""
    lines = "".join(f"  {line}\n" for line in body)
    made: dict[str, Any] = {}
    text = f"def _make({', '.join(known)}):\n def {signature}:\n{lines} return {signature.partition('(')[0]}\n"
    exec(text, vars(sys.modules[cls.__module__]), made)  # noqa: S102  of names of fields, as the standard one does
    return made["_make"](**known)


@recursive_repr()
def _repr(self: Any) -> str:
    told = ", ".join(f"{each.name}={getattr(self, each.name)!r}" for each in fields(self) if each.repr)
    return f"{type(self).__qualname__}({told})"


def _setattr_of(cls: Any) -> Callable[[Any, str, Any], None]:
    def __setattr__(self: Any, name: str, value: object) -> None:  # noqa: N807
        if type(self) is cls or name in cls.__dataclass_fields__:
            raise FrozenInstanceError(f"cannot assign to field {name!r}")
        super(cls, self).__setattr__(name, value)

    return __setattr__


def _delattr_of(cls: Any) -> Callable[[Any, str], None]:
    def __delattr__(self: Any, name: str) -> None:  # noqa: N807
        if type(self) is cls or name in cls.__dataclass_fields__:
            raise FrozenInstanceError(f"cannot delete field {name!r}")
        super(cls, self).__delattr__(name)

    return __delattr__


def _getstate(self: Any) -> list[Any]:
    return [getattr(self, each.name) for each in fields(self)]


def _setstate(self: Any, state: list[Any]) -> None:
    for each, value in zip(fields(self), state, strict=True):
        object.__setattr__(self, each.name, value)
