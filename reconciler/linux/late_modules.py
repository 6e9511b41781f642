"""Modules that are loaded by the first look at what they contain, for those that another module imports in vain.

Each is loaded once, by an import like any other: no thread sees it half loaded.
"""

import contextlib
import importlib
import sys
import threading
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from importlib.abc import Loader

_leaving = threading.Lock()


class _NoneYet:
    """In the place of a class of which there is no instance before its module is loaded."""


# Event loops compare each socket that they read or write with this class, plain ones too.
_COMPARED_WITH = frozenset((("ssl", "SSLSocket"),))


class _Late(ModuleType):
    """In the place of a module until one of its contents is asked for, and then a way to them.

    A class that values are only compared with is no reason to load it.
    """

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # the import system asks for these
            raise AttributeError(name)
        if (self.__name__, name) in _COMPARED_WITH and sys.modules.get(self.__name__) is self:
            return _NoneYet
        with _leaving:
            if sys.modules.get(self.__name__) is self:
                del sys.modules[self.__name__]
        found = getattr(importlib.import_module(self.__name__), name)
        setattr(self, name, found)
        return found


class _LateLoader:
    """Loads nothing."""

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Late(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Leave the module without contents."""


class _LateFinder:
    """Finds each of these names once."""

    def __init__(self, names: set[str]) -> None:
        self._names = names

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        del path, target
        if name not in self._names:
            return None
        self._names.discard(name)
        return ModuleSpec(name, cast("Loader", _LateLoader()))


@contextlib.contextmanager
def loaded_late(*names: str) -> Iterator[None]:
    """Have what imports these modules within the block load them by its first use of one of their contents."""
    finder = _LateFinder(set(names))
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
