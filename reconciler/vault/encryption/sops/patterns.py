"""Search field names for a regular expression that a stranger wrote, in bounded time.

Go's syntax, as far as rules of SOPS use it: what is not known here is refused, and never guessed. Every alternative is
followed at once, so that no name takes more steps than its length times that of the expression.
"""

import re
from collections.abc import Callable
from dataclasses import field
from typing import TypeAlias

from reconciler.linux.dataclass import dataclass

_LONGEST = 512
_MOST_STATES = 2000
_MOST_REPEATS = 100
_MOST_STEPS = 2_000_000  # about a second, for all names of a document
_DEEPEST = 20
_REPEAT = re.compile(r"\{([0-9]{1,4})(,([0-9]{0,4}))?\}")
_SETS: dict[str, Callable[[str], bool]] = {
    "d": lambda c: "0" <= c <= "9",
    "w": lambda c: c.isascii() and (c.isalnum() or c == "_"),
    "s": lambda c: c in "\t\n\f\r ",
}
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}
_TIMES: tuple[tuple[str, tuple[int, int | None]], ...] = (("*", (0, None)), ("+", (1, None)), ("?", (0, 1)))

_Test: TypeAlias = Callable[[str], bool]


class UnknownPattern(ValueError):
    """An expression that is invalid, not known here, or too large."""


@dataclass(slots=True)
class _State:
    """One step: `test` takes a character, `edge` holds at one end of the text only, and neither is free."""

    test: _Test | None = None
    edge: str = ""
    then: list["_State"] = field(default_factory=list)


# A part of an expression: what follows it in, its first state out.
_Part: TypeAlias = Callable[[_State], _State]


class Pattern:
    """A regular expression. Raises UnknownPattern."""

    def __init__(self, text: str) -> None:
        if len(text) > _LONGEST:
            raise UnknownPattern(f"it is longer than {_LONGEST} characters")
        self._ignores_case = text.startswith("(?i)")
        self._steps = 0
        self._known: dict[str, bool] = {}
        self._end = _State()
        self._start = _Parser(text.removeprefix("(?i)"), ignores_case=self._ignores_case).whole()(self._end)

    def is_in(self, name: str) -> bool:
        """Return whether the expression matches anywhere in a name. Raises UnknownPattern if that takes too long."""
        if name not in self._known:
            self._known[name] = self._searched(name.casefold() if self._ignores_case else name)
        return self._known[name]

    def _searched(self, text: str) -> bool:
        after: list[_State] = []
        for position in range(len(text) + 1):
            now = self._reached([*after, self._start], position, len(text))
            if id(self._end) in now:
                return True
            if position < len(text):
                character = text[position]
                after = [then for state in now.values() if state.test and state.test(character) for then in state.then]
        return False

    def _reached(self, states: list[_State], position: int, length: int) -> dict[int, _State]:
        """Return the states that are reached from these without taking a character."""
        found: dict[int, _State] = {}
        while states:
            state = states.pop()
            self._steps += 1
            if self._steps > _MOST_STEPS:
                raise UnknownPattern("it takes too long")
            if id(state) in found:
                continue
            found[id(state)] = state
            holds = {"": state.test is None, "^": position == 0, "$": position == length}[state.edge]
            if holds:
                states += state.then
        return found


class _Parser:
    """Reads an expression from its beginning to its end."""

    def __init__(self, text: str, *, ignores_case: bool) -> None:
        self._text = text
        self._ignores_case = ignores_case
        self._position = 0
        self._built = 0

    def whole(self) -> _Part:
        """Return the whole expression. Raises UnknownPattern."""
        found = self._alternatives(0)
        if self._position < len(self._text):
            raise UnknownPattern("a parenthesis closes nothing")
        return found

    def _alternatives(self, depth: int) -> _Part:
        if depth > _DEEPEST:
            raise UnknownPattern("it is nested too deeply")
        parts = [self._sequence(depth)]
        while self._take("|"):
            parts.append(self._sequence(depth))
        return parts[0] if len(parts) == 1 else lambda after: self._state(then=[part(after) for part in parts])

    def _sequence(self, depth: int) -> _Part:
        parts: list[_Part] = []
        while self._position < len(self._text) and self._text[self._position] not in "|)":
            parts.append(self._repeated(self._part(depth)))

        def first(after: _State) -> _State:
            self._count()
            for part in reversed(parts):
                after = part(after)
            return after

        return first

    def _part(self, depth: int) -> _Part:
        character = self._next()
        if character == "(":
            return self._group(depth)
        if character in "^$":
            return lambda after: self._state(edge=character, then=[after])
        if character in "*+?{":
            raise UnknownPattern("a repetition repeats nothing")
        known = {".": self._any, "[": self._class, "\\": self._escape}.get(character)
        test = self._same(character) if known is None else known()
        return lambda after: self._state(test=test, then=[after])

    def _group(self, depth: int) -> _Part:
        if self._take("?") and not self._take(":"):
            raise UnknownPattern("it has a group of a kind that is not known here")
        found = self._alternatives(depth + 1)
        if not self._take(")"):
            raise UnknownPattern("a parenthesis is not closed")
        return found

    def _repeated(self, part: _Part) -> _Part:
        least, most = self._times()
        if (least, most) == (1, 1):
            return part

        def first(after: _State) -> _State:
            if most is None:
                again = self._state(then=[after])
                again.then.append(part(again))
                after = again
            for _ in range((least if most is None else most) - least):
                after = self._state(then=[part(after), after])
            for _ in range(least):
                after = part(after)
            return after

        return first

    def _times(self) -> tuple[int, int | None]:
        found = _REPEAT.match(self._text, self._position)
        times: tuple[int, int | None] = (1, 1)
        if found:
            self._position = found.end()
            least = int(found[1])
            most = least if found[2] is None else int(found[3]) if found[3] else None
            if least > _MOST_REPEATS or (most is not None and not least <= most <= _MOST_REPEATS):
                raise UnknownPattern("a repetition is too long")
            times = least, most
        else:
            times = next((times for character, times in _TIMES if self._take(character)), times)
        if found or times != (1, 1):
            self._take("?")  # whether it is greedy does not matter to a search
            if self._text[self._position : self._position + 1] in ("*", "+", "?", "{"):
                raise UnknownPattern("a repetition repeats a repetition")
        return times

    # Characters

    def _any(self) -> _Test:
        return lambda c: c != "\n"

    def _same(self, character: str) -> _Test:
        wanted = character.casefold() if self._ignores_case else character
        return lambda c: c == wanted

    def _escape(self) -> _Test:
        character = self._next()
        if character.lower() in _SETS:
            known = _SETS[character.lower()]
            return known if character.islower() else lambda c: not known(c)
        if character.isalnum() and character not in _ESCAPES:
            raise UnknownPattern(f"it has \\{character}, which is not known here")
        return self._same(_ESCAPES.get(character, character))

    def _class(self) -> _Test:
        excludes = self._take("^")
        tests: list[_Test] = []
        while not (tests and self._take("]")):
            character = self._next()
            if character == "[" and self._text.startswith(":", self._position):
                raise UnknownPattern("it has a class of characters that is not known here")
            if character == "\\":
                tests.append(self._escape())
            elif self._text.startswith("-", self._position) and not self._text.startswith("-]", self._position):
                self._position += 1
                tests.append(self._range(character, self._next()))
            else:
                tests.append(self._same(character))
        return lambda c: any(test(c) for test in tests) is not excludes

    def _range(self, first: str, last: str) -> _Test:
        if last == "\\" or first > last:
            raise UnknownPattern("it has a range of characters that is not known here")
        if self._ignores_case:
            return lambda c: first <= c <= last or first <= c.upper() <= last
        return lambda c: first <= c <= last

    # Reading and building

    def _next(self) -> str:
        if self._position >= len(self._text):
            raise UnknownPattern("it ends too early")
        self._position += 1
        return self._text[self._position - 1]

    def _take(self, text: str) -> bool:
        if self._text.startswith(text, self._position):
            self._position += len(text)
            return True
        return False

    def _state(self, *, test: _Test | None = None, edge: str = "", then: list[_State]) -> _State:
        self._count()
        return _State(test=test, edge=edge, then=then)

    def _count(self) -> None:
        self._built += 1
        if self._built > _MOST_STATES:
            raise UnknownPattern("it is too large")
