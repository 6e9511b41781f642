"""A class of ours does what one of the standard library does, and compiles what is called."""

import copy
import dataclasses
import inspect
import pickle
import re
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reconciler.linux import dataclass as ours
from reconciler.linux.package_files import package_directory

_PACKAGE = package_directory("reconciler")
_OURS: Any = ours.dataclass


def _pairs(**options: Any) -> list[Any]:
    return [pytest.param(decorated(**options), id=name) for name, decorated in _DECORATORS.items()]


_DECORATORS: dict[str, Callable[..., Any]] = {"ours": _OURS, "the standard one": dataclasses.dataclass}


@_OURS(frozen=True, slots=True, kw_only=True)
class _Known:
    """A class that can be found by its name, as one that is pickled must."""

    first: int
    second: dict[str, int] = dataclasses.field(default_factory=dict, compare=False)


@pytest.mark.parametrize("decorated", _pairs(frozen=True, slots=True, kw_only=True))
def test_a_frozen_one_compares_hashes_and_prints_by_its_fields(decorated: Any) -> None:
    class Some:
        """Some fields."""

        first: int
        hidden: str = dataclasses.field(default="no", repr=False)
        aside: list[int] = dataclasses.field(default_factory=list, compare=False)
        last: "tuple[int, ...]" = ()

    made = decorated(Some)
    one, same, other = made(first=1), made(first=1, aside=[2]), made(first=2)

    assert one == same
    assert hash(one) == hash(same)
    assert one != other
    assert one != (1, "no", ())
    assert repr(same).endswith(".Some(first=1, aside=[2], last=())")
    assert one.aside is not made(first=1).aside
    assert dataclasses.asdict(other) == {"first": 2, "hidden": "no", "aside": [], "last": ()}
    assert dataclasses.replace(one, last=(3,)) == made(first=1, last=(3,))
    assert list(inspect.signature(made).parameters) == ["first", "hidden", "aside", "last"]
    assert made.__init__.__annotations__["first"] is int


@pytest.mark.parametrize("decorated", _pairs(frozen=True, slots=True))
def test_a_frozen_one_refuses_to_change(decorated: Any) -> None:
    class Some:
        """A field."""

        first: int

    made = decorated(Some)
    one = made(1)

    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot assign to field 'first'"):
        one.first = 2
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot delete field 'first'"):
        del one.first
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'second'"):
        made(first=1, second=2)
    with pytest.raises(TypeError, match=r"missing 1 required positional argument: 'first'"):
        made()


@pytest.mark.parametrize("decorated", _pairs(slots=True))
def test_one_that_may_change_has_no_hash(decorated: Any) -> None:
    class Some:
        """A field of each kind."""

        first: int
        made: list[int] = dataclasses.field(default_factory=list, init=False)
        second: int = 0

        def __post_init__(self) -> None:
            self.made.append(self.first)

    one = decorated(Some)(1, 2)
    one.second = 3

    assert (one.first, one.second, one.made) == (1, 3, [1])
    assert one == dataclasses.replace(one)
    with pytest.raises(TypeError, match="unhashable"):
        hash(one)


@pytest.mark.parametrize("decorated", _pairs(frozen=True, slots=True, eq=False))
def test_one_without_comparison_is_equal_to_itself_alone(decorated: Any) -> None:
    class Some:
        """A field."""

        first: int

    made = decorated(Some)
    one = made(1)

    assert one != made(1)
    assert {one: 1}[one] == 1


@pytest.mark.parametrize("decorated", _pairs(frozen=True))
def test_what_the_class_writes_itself_stays(decorated: Any) -> None:
    class Some:
        """Methods of its own."""

        first: int

        def __eq__(self, other: object) -> bool:
            return isinstance(other, type(self))

        def __hash__(self) -> int:
            return 5

        def __repr__(self) -> str:
            return "some"

    made = decorated(Some)

    assert made(1) == made(2)
    assert hash(made(1)) == 5
    assert repr(made(1)) == "some"


@pytest.mark.parametrize("decorated", _pairs(frozen=True, slots=True))
def test_one_that_inherits_has_the_fields_of_both(decorated: Any) -> None:
    class Base:
        """A field."""

        first: int

    base = decorated(Base)
    derived = decorated(type("Derived", (base,), {"__annotations__": {"second": int}, "__doc__": "Another."}))

    assert derived(1, 2) == derived(1, 2) != derived(1, 3)
    assert derived(1, 2) != base(1)
    assert base(1) == base(1)
    assert repr(derived(1, 2)).endswith("Derived(first=1, second=2)")
    assert hash(derived(1, 2)) == hash(derived(1, 2))


def test_one_can_be_copied_and_pickled() -> None:
    known: Any = _Known
    one = known(first=1, second={"a": 1})
    deep = copy.deepcopy(one)

    assert pickle.loads(pickle.dumps(one)).second == copy.copy(one).second == deep.second == {"a": 1}
    assert deep.second is not one.second


def test_a_method_is_compiled_when_it_is_first_called() -> None:
    @_OURS(frozen=True, slots=True)
    class Some:
        """A field."""

        first: int

    compiled = {name for name, method in vars(Some).items() if isinstance(method, types.FunctionType)}
    assert not compiled & {"__init__", "__eq__", "__hash__"}
    some: Any = Some
    assert hash(some(1)) == hash(some(1))
    compiled = {name for name, method in vars(some).items() if isinstance(method, types.FunctionType)}
    assert compiled & {"__init__", "__eq__", "__hash__"} == {"__init__", "__hash__"}


def test_no_class_of_the_daemon_is_compiled_as_a_whole() -> None:
    here = Path(ours.__file__)
    offending = [
        str(path.relative_to(_PACKAGE))
        for path in sorted(_PACKAGE.rglob("*.py"))
        if path != here
        for line in path.read_text().splitlines()
        if re.search(r"^\s*from dataclasses import .*\bdataclass\b|^\s*@dataclasses\.", line)
    ]

    assert offending == []
