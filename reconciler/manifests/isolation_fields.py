"""Read and check the fields `isolation`, `mounts` and `network` of an app."""

from collections.abc import Callable, Iterator
from dataclasses import field

from reconciler.documents.problem import Path
from reconciler.documents.tree import Node
from reconciler.linux.dataclass import dataclass
from reconciler.planning.isolation.confinement import Isolated, Isolation, Mount, Part, Reaches, requirable_parts
from reconciler.planning.isolation.destinations import Place, place_of


@dataclass(frozen=True, slots=True, kw_only=True)
class IsolationRules:
    """What the host says of isolation: of a manifest that says nothing, of every app, and what apps may ask to see.

    `filters` says whether rules of the kernel hold apps to lists of where they may connect to, by their users.
    """

    default: Isolation = "none"
    required: tuple[Part, ...] = ()
    mounts: tuple[str, ...] = ()
    filters: Callable[[], bool] = field(default=lambda: False, compare=False)


NO_RULES = IsolationRules()


def isolation_of(tree: Node, rules: IsolationRules, absolute: Callable[[str], str]) -> Isolated:
    """Return what a document says that has no problem; `absolute` makes a path of it absolute."""
    given = tree.given("isolation")
    kind: Isolation = rules.default if given is None else given.value  # type: ignore[assignment]  # the schema's
    if kind == "none":
        return Isolated()
    mounts, connect, listen = (tree.given("mounts"), *(tree.given("network", each) for each in ("connect", "listen")))
    found = [] if mounts is None else [part.value for part in mounts.parts.values() if isinstance(part.value, dict)]
    return Isolated(
        kind=kind,
        connects=_reach(connect),
        places=(places := tuple(str(place) for place in _places(connect))),
        by_user=bool(places) and rules.filters(),
        listens="all" if listen is not None and listen.value is True else "none",
        mounts=tuple(
            Mount(path=absolute(str(each["from"])), link=str(each.get("as", "")), write=each.get("write") is True)
            for each in found
        ),
    )


def _reach(connect: Node | None) -> Reaches:
    if connect is not None and isinstance(connect.value, list):
        return "listed"
    return "none" if connect is not None and connect.value == "none" else "all"


def _places(connect: Node | None) -> Iterator[Place]:
    """Yield the places of a list that has no problem, in its order, each once."""
    if connect is not None and isinstance(connect.value, list):
        yield from dict.fromkeys(place_of(str(part.value)) for part in connect.parts.values())


def problems_of_isolation(
    tree: Node, rules: IsolationRules, absolute: Callable[[str], str]
) -> Iterator[tuple[Path, str]]:
    """Yield what is wrong beyond the schema."""
    given = tree.given("isolation")
    kind: Isolation = rules.default if given is None else given.value  # type: ignore[assignment]  # checked below
    if kind not in ("strict", "user", "none"):
        return
    lacking = [part for part in rules.required if part not in requirable_parts(kind)]
    if given is not None and lacking:
        yield ("isolation",), f"is less than the settings of this host require, which is {', '.join(lacking)}"
    yield from _problems_of_network(tree, kind)
    yield from _problems_of_mounts(tree, kind, rules, absolute)


def _problems_of_network(tree: Node, kind: Isolation) -> Iterator[tuple[Path, str]]:
    connect, listen = tree.given("network", "connect"), tree.given("listen")
    opens = tree.given("network", "listen")
    if opens is not None and kind != "strict":
        yield ("network", "listen"), "requires 'isolation: strict': another app may open any port"
    if connect is not None and isinstance(connect.value, list):
        if kind != "strict":
            yield ("network", "connect"), "requires 'isolation: strict', which holds the app to a list"
        for index, part in connect.parts.items():
            try:
                place_of(str(part.value))
            except ValueError as error:
                yield ("network", "connect", index), str(error)
    if connect is not None and connect.value == "none":
        if kind != "strict":
            yield ("network", "connect"), "requires 'isolation: strict', which keeps the app from the network"
        elif listen is not None and listen.value == "port":
            yield ("network", "connect"), "leaves the app no port to open: 'listen' has to be descriptor or socket"
        elif opens is not None and opens.value is True:
            yield ("network", "listen"), "is true, and 'connect: none' leaves the app no port to open"


def _problems_of_mounts(
    tree: Node, kind: Isolation, rules: IsolationRules, absolute: Callable[[str], str]
) -> Iterator[tuple[Path, str]]:
    mounts = tree.given("mounts")
    if mounts is None:
        return
    if kind != "strict":
        yield ("mounts",), "requires 'isolation: strict': another app sees every directory"
        return
    for index, part in mounts.parts.items():
        source = part.given("from")
        path = absolute(str(source.value)) if source is not None and isinstance(source.value, str) else None
        if path is None:
            continue
        if "/../" in f"{path}/":
            yield ("mounts", index, "from"), "names a directory by '..': write where it is"
        elif not any(f"{path}/".startswith(f"{each}/") for each in rules.mounts):
            allowed = f"only {', '.join(rules.mounts)} and what is below" if rules.mounts else "none"
            yield ("mounts", index, "from"), f"is no directory that apps may see here: isolation.mounts names {allowed}"
