"""The order of the apps on the page: problems first, or by the column that the URL names."""

from collections.abc import Mapping, Sequence

from reconciler.linux.dataclass import dataclass
from reconciler.web.formatting import query
from reconciler.web.rows import Row

# The heading of each column, and whether the most comes first when it is chosen.
_COLUMNS: Mapping[str, tuple[str, bool]] = {
    "app": ("App", False), "state": ("State", False), "revision": ("Revision", False), "workers": ("Workers", True),
    "cpu": ("CPU", True), "memory": ("Memory", True), "rate": ("Requests/s", True), "restarts": ("Restarts", True),
}  # fmt: skip
_TEXTS = ("app", "state", "revision")


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A heading of the table: its link `query` sorts by it, or turns the order when it is the one sorted by.

    `sorted` is a value of `aria-sort`, empty when the table is not sorted by this column.
    """

    name: str
    title: str
    query: str
    sorted: str
    is_number: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What a URL asks the first page to show: a state, words to find, and an order such as `memory` or `-memory`."""

    state: str = ""
    search: str = ""
    order: str = ""

    @classmethod
    def of(cls, given: Mapping[str, str]) -> "View":
        """Return the view of a query; an order that does not exist is none."""
        order = given.get("sort", "")
        return cls(
            state=given.get("state", ""),
            search=given.get("q", "").strip(),
            order=order if order.removeprefix("-") in _COLUMNS else "",
        )

    def shown(self, rows: Sequence[Row]) -> list[Row]:
        """Return the rows of this view, in its order."""
        found = [row for row in rows if self._matches(row)]
        if not self.order:
            return found
        column = self.order.removeprefix("-")
        known = [row for row in found if row.values.get(column) is not None]
        known.sort(key=lambda row: row.name)
        known.sort(key=lambda row: _key(row, column), reverse=self.order.startswith("-"))
        return known + [row for row in found if row.values.get(column) is None]

    def columns(self) -> list[Column]:
        """Return the headings of the table."""
        return [
            Column(
                name=name,
                title=title,
                query=self.query(sort=self._next(name, most_first=most_first)),
                sorted=self._sorted(name),
                is_number=name not in _TEXTS,
            )
            for name, (title, most_first) in _COLUMNS.items()
        ]

    def query(self, **changed: str) -> str:
        """Return the query of this view with some of its parts changed; empty without any."""
        return query(**{"state": self.state, "q": self.search, "sort": self.order} | changed)

    def _matches(self, row: Row) -> bool:
        words = f"{row.name} {row.cells['message']}".lower()
        return self.state in ("", row.state) and self.search.lower() in words

    def _next(self, column: str, *, most_first: bool) -> str:
        first, second = (f"-{column}", column) if most_first else (column, f"-{column}")
        return second if self.order == first else first

    def _sorted(self, column: str) -> str:
        if self.order.removeprefix("-") != column:
            return ""
        return "descending" if self.order.startswith("-") else "ascending"


def _key(row: Row, column: str) -> tuple[float, str]:
    value = row.values[column]
    return (0.0, value) if isinstance(value, str) else (value or 0.0, "")
