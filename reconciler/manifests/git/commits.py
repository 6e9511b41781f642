"""Read the bytes of commit objects: what people see of a commit, and its parents. Pure."""

from reconciler.linux.dataclass import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """One commit as people know it: its id, the first line of its message, and the whole message."""

    id: str
    subject: str
    message: str
    author: str


def tree_of(raw: bytes) -> str:
    """Return the tree id of the top of a commit, "" for the bytes of none."""
    name, _, tree = raw.partition(b"\n")[0].partition(b" ")
    return tree.decode(errors="replace") if name == b"tree" else ""


def parents_of(raw: bytes) -> list[str]:
    """Return the parents that a commit object names itself, whether or not they were fetched."""
    lines = raw.partition(b"\n\n")[0].split(b"\n")
    return [line[7:].decode(errors="replace") for line in lines if line.startswith(b"parent ")]


def commit_of(commit: str, raw: bytes) -> Commit:
    """Return what people see of the bytes of a commit object."""
    head, _, message = raw.partition(b"\n\n")
    author = next((line[7:] for line in head.split(b"\n") if line.startswith(b"author ")), b"")
    text = message.decode(errors="replace")
    return Commit(
        id=commit,
        subject=_printable(next(iter(text.strip().splitlines()), "")),
        message=text,
        author=_printable(author.rpartition(b">")[0].decode(errors="replace") + ">" if author else ""),
    )


def _printable(text: str) -> str:
    return "".join(each if each.isprintable() else " " for each in text)[:200]
