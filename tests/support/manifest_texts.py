"""Manifests as people write them: comments, quotes, block scalars, braces, indentations, line breaks, documents."""

import re

from hypothesis import strategies as st

_WORDS = st.sampled_from((
    "info", "true", "3.10", "a b", "it's", 'say "hi"', "x: y", "#no", "é", "null", "~", "yes", "12:30", "*x", "",
))  # fmt: skip
_NUMBER = re.compile(r"#c\d+ [\t é'\":{}\[\],-]*c")


def values(min_size: int = 0) -> st.SearchStrategy[str]:
    """Texts that a variable can have."""
    letters = st.characters(codec="utf-8", exclude_characters="\0")
    some = _WORDS.filter(lambda word: len(word) >= min_size)
    return st.one_of(some, st.text(letters, min_size=min_size, max_size=12))


def comments_in(text: str) -> list[str]:
    """Every comment that `manifest_texts` put into a text: no value looks like one."""
    return _NUMBER.findall(text)


class _Writer:
    """Writes one text from choices that hypothesis draws; each comment has a number of its own."""

    def __init__(self, draw: st.DrawFn) -> None:
        self._draw = draw
        self._comments = self._anchors = 0
        self.step = draw(st.sampled_from((1, 2, 4)))

    def chance(self) -> bool:
        return self._draw(st.integers(0, 2)) == 2

    def comment(self) -> str:
        self._comments += 1
        return f"#c{self._comments} {self._draw(st.sampled_from(('', chr(9), 'é', ': {[', chr(39), chr(34))))}c"

    def behind(self) -> str:
        return f"{self._draw(st.sampled_from((' ', '  ', chr(9))))}{self.comment()}" if self.chance() else ""

    def lines_between(self, column: int) -> list[str]:
        found = []
        while self.chance():
            found.append(self._draw(st.sampled_from(("", " " * column + self.comment()))))
        return found

    def scalar(self) -> str:
        self._anchors += 1
        anchored = f"&a{self._anchors} v"
        plain = ("info", "3.10", "x y", "é", "a#b", anchored)
        return self._draw(st.sampled_from((*plain, "'it''s'", '"a\\tb: c"', "''", '"#c0"')))

    def value(self, column: int) -> list[str]:
        """A value in a block, as what follows the colon, and its further lines."""
        kind = self._draw(st.integers(0, 6))
        deeper = " " * (column + self.step)
        if kind == 5:
            style = self._draw(st.sampled_from(("|", "|-", ">", ">-", "|+")))
            lines = [f" {style}{self.behind()}", f"{deeper}first # no comment", f"{deeper}second"]
            return [*lines, ""] if self.chance() else lines
        if kind == 1:
            return [" one", f"{deeper}two{self.behind()}"]
        if kind == 2:
            return [f" {{file: secrets/x}}{self.behind()}"]
        if kind == 3:
            return [self.behind(), *self.lines_between(column + self.step), f"{deeper}file: secrets/y{self.behind()}"]
        return [f" {self.scalar()}{self.behind()}"]

    def env(self) -> list[str]:
        names = self._draw(st.lists(st.sampled_from(("A", "B", "C")), unique=True, max_size=3))
        kind = self._draw(st.integers(0, 3))
        if not names:
            return (
                []
                if kind == 0
                else [f"env:{self._draw(st.sampled_from((' {}', '', ' null', ' {{ }}'.format())))}{self.behind()}"]
            )
        if kind == 0:
            entries = ", ".join(f"{name}: {self.flow()}" for name in names)
            return [f"env: {{{entries}{',' if self.chance() else ''}}}{self.behind()}"]
        if kind == 1:
            last = "," if self.chance() else ""
            lines = [f"  {name}: {self.flow()}{',' if name != names[-1] else last}{self.behind()}" for name in names]
            return [f"env: {{{self.behind()}", *lines, f"}}{self.behind()}"]
        found = [f"env:{self.behind()}"]
        for name in names:
            first, *more = self.value(self.step)
            found += [*self.lines_between(self.step), f"{' ' * self.step}{name}:{first}", *more]
        return [*found, *self.lines_between(self.step)]

    def flow(self) -> str:
        return self._draw(st.sampled_from(("info", "3.10", "'it''s'", '"a, b"', "{file: secrets/z}", "é")))

    def document(self) -> list[str]:
        fields = [
            [f"path: ../app{self.behind()}"],
            self.env(),
            [f"workers: {self._draw(st.sampled_from(('2', 'auto', '')))}{self.behind()}"] if self.chance() else [],
            [f"state: running{self.behind()}"] if self.chance() else [],
            [f"services: [db]{self.behind()}"] if self.chance() else [],
            [f"release: >-{self.behind()}", "  python manage.py", "  migrate"] if self.chance() else [],
        ]
        found = self.lines_between(0)
        for field in self._draw(st.permutations(fields)):
            found += [*field, *self.lines_between(0)]
        return found


@st.composite
def manifest_texts(draw: st.DrawFn) -> str:
    """A text with one document of an app, and perhaps others; its `env` has none, some or all of A, B and C."""
    writer = _Writer(draw)
    lines = writer.document()
    if writer.chance():
        lines = ["---", "name: app", *lines, *(["..."] if writer.chance() else [])]
        lines += [f"---{writer.behind()}", "name: other", "path: ../other", "env: {A: 1}"]
        if writer.chance():
            lines = ["kind: service", "name: db", "type: sqlite", *lines]
    newline = draw(st.sampled_from(("\n", "\r\n")))
    return newline.join(lines) + (newline if draw(st.booleans()) else "")
