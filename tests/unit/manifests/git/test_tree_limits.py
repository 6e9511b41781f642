"""A commit whose files have hostile names, kinds or sizes is refused at the first of them, within bounded memory."""

import os
import subprocess
import tracemalloc
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.manifests.git.tree_limits import (
    Limits,
    Tree,
    TreeReader,
    UnfitTree,
    link_problems,
    pointer_problem,
    resolved,
)

ID = "0123456789abcdef0123456789abcdef01234567"
SMALL = Limits(files=4, file_size=1000, total_size=2500, path_length=100, depth=3)


def line(path: str | bytes, mode: str = "100644", size: str = "10") -> bytes:
    name = path.encode() if isinstance(path, str) else path
    kind = "commit" if mode == "160000" else "blob"
    return f"{mode} {kind} {ID} {size:>7}\t".encode() + name + b"\0"


def read_whole(listing: bytes, limits: Limits, paths: Iterable[str] = ("",)) -> Tree:
    reader = TreeReader(limits, paths)
    reader.read(listing)
    return reader.end()


def refused(*lines: bytes, limits: Limits = SMALL, paths: tuple[str, ...] = ("",)) -> str:
    with pytest.raises(UnfitTree) as found:
        read_whole(b"".join(lines), limits, paths)
    return str(found.value)


def tree(links: Mapping[str, str], *files: str, paths: tuple[str, ...] = ("",)) -> Tree:
    lines = [*(line(path, "120000") for path in links), *map(line, files)]
    return read_whole(b"".join(lines), Limits(), paths)


def wrong_links(links: Mapping[str, str], *files: str, paths: tuple[str, ...] = ("",)) -> list[str]:
    found = link_problems(tree(links, *files, paths=paths), {path: target.encode() for path, target in links.items()})
    return [str(problem) for problem in found]


def test_ordinary_files_are_listed_with_their_kinds_and_sizes() -> None:
    found = read_whole(line("a/b c.yaml") + line("a/run", "100755", "7") + line("ü.html"), SMALL)
    assert {path: (entry.kind, entry.size) for path, entry in found.files.items()} == {
        "a/b c.yaml": ("file", 10),
        "a/run": ("program", 7),
        "ü.html": ("file", 10),
    }
    assert found.absent == ()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (".git", "has a name that stands for '.git' on some file system"),
        (".git/hooks/post-checkout", ".git: has a name that stands for '.git' on some file system"),
        (".GIT/config", ".GIT: has a name that stands for '.git' on some file system"),
        ("a/.giT", "has a name that stands for '.git' on some file system"),
        ("git~1/config", "git~1: has a name that stands for '.git' on some file system"),
        ("GIT~1", "has a name that stands for '.git' on some file system"),
        (".g\u200cit", "has a name that stands for '.git' on some file system"),
        ("\ufeff.git", "has a name that stands for '.git' on some file system"),
        ("\uff0egit", "has a name that stands for '.git' on some file system"),
        (".git. .", "has a name that stands for '.git' on some file system"),
        (".git::$INDEX_ALLOCATION", "has a name that stands for '.git' on some file system"),
        ("a\\.git", "has a name that stands for '.git' on some file system"),
        ("..", "has '..' in its path"),
        ("a/../../b", "has '..' in its path"),
        ("a/./b", "has '.' in its path"),
        ("/etc/passwd", "is an absolute path"),
        ("", "has an empty name in its path"),
        ("a//b", "has an empty name in its path"),
        ("a/", "has an empty name in its path"),
        ("a\nb", "has a line break in its name"),
        ("a\rb/c", "has a line break in its name"),
        ("a\x1b[2Jb", "has a name with characters that do not print"),
        ("a\u202egpj.exe", "has a name with characters that do not print"),
        (b"caf\xe9", "has a name that is not UTF-8"),
        (b"\xed\xa0\x80", "has a name that is not UTF-8"),
        ("NUL", "has a name that stands for a device on some systems"),
        ("com1./x", "has a name that stands for a device on some systems"),
        ("a/b/c/d/e", "lies 4 directories deep; the limit is 3"),
        ("x" * 101, "is a path of 101 bytes; the limit is 100"),
    ],
)
def test_a_hostile_name_is_refused(name: str | bytes, message: str) -> None:
    said = refused(line("good") + line(name))
    assert said.endswith(message)
    assert said.isprintable()
    # Refused as well where no path of the origin leads.
    assert refused(line(name), paths=("hosts/web1",)).endswith(message)


@pytest.mark.parametrize("name", [".gitignore", ".github/x", "git", "nul.py", "console", "auxiliary", ".gitattributes"])
def test_a_name_that_only_resembles_one_is_accepted(name: str) -> None:
    assert list(read_whole(line(name), SMALL).files) == [name]


def test_a_name_longer_than_a_file_system_allows_is_refused() -> None:
    assert refused(line("ü" * 128), limits=Limits()) == f"{'ü' * 128}: has a name of more than 255 bytes"


def test_a_path_that_is_there_twice_is_refused() -> None:
    assert refused(line("a/b"), line("c"), line("a/b")) == "a/b: is there twice"


@pytest.mark.parametrize("lines", [("a", "a/b"), ("a/b", "a"), ("a/b/c", "a/b"), ("a/b", "a/b/c")])
def test_a_file_and_a_directory_of_one_name_are_refused(lines: tuple[str, str]) -> None:
    assert refused(*map(line, lines)).endswith(": is both a file and a directory")


def test_a_link_and_files_below_its_name_are_refused() -> None:
    assert refused(line("a", "120000"), line("a/b")) == "a: is both a file and a directory"


def test_more_files_than_the_limit_are_refused_wherever_they_are() -> None:
    lines = [line(f"other/{number}") for number in range(5)]
    assert refused(*lines, paths=("hosts",)) == "has more than 4 files, which is the limit"


def test_sizes_are_limited_where_the_origin_uses_files() -> None:
    assert refused(line("a", size="1001")) == "a: is 1001 bytes; the limit is 1000 bytes a file"
    assert refused(*(line(name, size="900") for name in "abc")).startswith("its files are larger than 2.4 KiB")
    assert refused(line("a", size="BAD")) == "a: was not fetched; the limit is 1000 bytes a file"
    assert refused(line("a", "120000", "101")) == "a: is a symbolic link of 101 bytes; the limit is 100"
    elsewhere = read_whole(line("big/a", size="99999") + line("hosts/a"), SMALL, ("hosts",))
    assert list(elsewhere.files) == ["hosts/a"]


def test_a_submodule_below_a_used_path_is_refused_and_elsewhere_left_out() -> None:
    assert refused(line("a/lib", "160000", "-")) == "a/lib: is a submodule, which is not fetched"
    assert read_whole(line("lib", "160000", "-") + line("a/x"), SMALL, ("a",)).files.keys() == {"a/x"}
    said = refused(line("hosts", "160000", "-"), paths=("hosts/web1",))
    assert said == "hosts: is a submodule, which is not fetched; the origin takes its manifests from there"


@pytest.mark.parametrize("mode", ["120000", "100644"])
@pytest.mark.parametrize("path", ["hosts", "hosts/web1"])
def test_a_path_of_the_origin_that_is_no_directory_is_refused(path: str, mode: str) -> None:
    assert refused(line(path, mode), paths=("hosts/web1",)).startswith(f"{path}: is not a directory")


def test_an_unknown_mode_is_refused() -> None:
    assert refused(line("a", "060000")).startswith("a: has the mode 060000; expected a file")


def test_paths_that_a_commit_lacks_are_told() -> None:
    found = read_whole(line("hosts/web1/a.yaml"), SMALL, ("all", "hosts/web1/", "./hosts/web2"))
    assert (found.paths, found.absent) == (("all", "hosts/web1", "hosts/web2"), ("all", "hosts/web2"))


@pytest.mark.parametrize("cut", range(1, len(line("a/b"))))
def test_a_listing_may_be_cut_anywhere_into_blocks_and_nowhere_end(cut: int) -> None:
    whole = line("a/b")
    reader = TreeReader(SMALL)
    reader.read(whole[:cut])
    if cut < len(whole):
        with pytest.raises(UnfitTree, match="damaged"):
            reader.end()
    reader.read(whole[cut:])
    assert list(reader.end().files) == ["a/b"]


@pytest.mark.parametrize("damaged", [b"\0", b"100644 blob x\ta\0", b"a\0", b"100644 blob \xff 1 2\ta\0"])
def test_a_damaged_listing_is_refused(damaged: bytes) -> None:
    assert refused(damaged) == "the listing of its files is damaged"


def _peak(blocks: int, block: bytes, limits: Limits) -> int:
    def read_all() -> None:
        reader = TreeReader(limits)
        for number in range(blocks):
            reader.read(block.replace(b"#", b"%08d" % number))

    tracemalloc.start()
    try:
        with pytest.raises(UnfitTree):
            read_all()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_million_entries_are_refused_within_bounded_memory() -> None:
    limits = Limits(files=2000)
    assert _peak(1_000_000, line("directory-#/file-#"), limits) < 3_000_000


def test_a_name_without_end_is_refused_within_bounded_memory() -> None:
    assert _peak(1_000_000, b"x" * 65536, Limits()) < 300_000
    assert _peak(1_000_000, b"100644 blob " + b"x" * 65536, Limits()) < 300_000


@given(st.binary(max_size=200))
def test_any_listing_is_read_or_refused(listing: bytes) -> None:
    with suppress(UnfitTree):
        assert all(resolved("", path) == path for path in read_whole(listing, SMALL).files)


def test_links_inside_the_paths_are_accepted() -> None:
    links = {"all/here": "shop.yaml", "hosts/web1/shop": "../../all/apps", "all/gone": "./not//there"}
    assert wrong_links(links, "all/shop.yaml", "all/apps/x", paths=("all", "hosts/web1")) == []


@pytest.mark.parametrize(
    ("links", "message"),
    [
        ({"a/x": "/etc/shadow"}, "a/x: is a symbolic link to an absolute path"),
        ({"a/x": "../../.."}, "a/x: is a symbolic link out of the repository, or has '..' after a name"),
        ({"a/x": "../b"}, "a/x: is a symbolic link out of the origin's paths"),
        ({"a/x": "../ab"}, "a/x: is a symbolic link out of the origin's paths"),
        ({"a/x": "sub/../../.."}, "a/x: is a symbolic link out of the repository, or has '..' after a name"),
        ({"a/x": "y", "a/y": "file"}, "a/x: is a symbolic link that leads through another"),
        ({"a/x": "y/sub", "a/y": "dir"}, "a/x: is a symbolic link that leads through another"),
        ({"a/x": "x"}, "a/x: is a symbolic link that leads through another"),
        ({"a/x": "."}, "a/x: is a symbolic link in a circle"),
        ({"a/b/c/x": "../.."}, "a/b/c/x: is a symbolic link in a circle"),
        ({"a/x": "a\nb"}, "a/x: is a symbolic link to a name with characters that do not print"),
        ({"a/x": "a\0b"}, "a/x: is a symbolic link to a name with characters that do not print"),
    ],
)
def test_a_link_that_could_lead_elsewhere_is_refused(links: dict[str, str], message: str) -> None:
    assert wrong_links(links, paths=("a",)) == [message]


def test_links_of_two_directories_that_contain_each_other_are_refused() -> None:
    links = {"a/x": "../b", "b/y": "../c", "c/z": "../a", "d/fine": "../a/file"}
    found = wrong_links(links, "a/file")
    assert found == [f"{path}: is a symbolic link in a circle" for path in ("a/x", "b/y", "c/z")]


def test_a_link_into_a_directory_with_a_link_is_no_circle() -> None:
    assert wrong_links({"a/x": "../b", "b/y": "../c"}, "b/file", "c/file") == []


def test_a_link_that_was_not_read_is_refused() -> None:
    found = link_problems(tree({"a": "b"}), {})
    assert [str(problem) for problem in found] == ["a: was not read"]


def test_many_links_are_judged_in_a_time_that_grows_with_their_number() -> None:
    links = {f"d{number:05}/x": f"../d{number + 1:05}" for number in range(9_000)}
    assert wrong_links(links) == []


@given(
    st.dictionaries(
        st.sampled_from(["x", "a/x", "a/y", "a/b/x", "b/y"]),
        st.lists(st.sampled_from(["..", ".", "a", "b", "x", "y", "file"]), min_size=1, max_size=4).map("/".join),
        max_size=4,
    )
)
def test_what_is_accepted_leads_the_kernel_to_the_same_place(
    tmp_path_factory: pytest.TempPathFactory, links: dict[str, str]
) -> None:
    files = ["a/file", "a/b/file", "b/file"]
    if wrong_links(links, *files):
        return
    top = tmp_path_factory.mktemp("tree")
    for path in files:
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).touch()
    for path, target in links.items():
        (top / path).symlink_to(target)
    for path, target in links.items():
        place = resolved(path.rpartition("/")[0], target)
        assert place is not None
        assert os.path.realpath(top / path) == str(top / place).rstrip("/")
    # Following every link comes to an end.
    for number, _ in enumerate(os.walk(top, followlinks=True)):
        assert number < 1000


@pytest.mark.parametrize(
    ("directory", "path", "place"),
    [
        ("hosts/web1", "../../apps/shop", "apps/shop"),
        ("", "apps", "apps"),
        ("a", "..", ""),
        ("a", "../..", None),
        ("a", "b/../c", None),
        ("a", "/etc", None),
        ("a/b", "./c//d/.", "a/b/c/d"),
    ],
)
def test_a_path_is_resolved_within_the_repository(directory: str, path: str, place: str | None) -> None:
    assert resolved(directory, path) == place


def test_an_lfs_pointer_is_refused() -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
    assert str(pointer_problem("a/logo.png", pointer)) == "a/logo.png: is an LFS pointer, which is not fetched"
    assert pointer_problem("a", b"version 1\n") is None
    assert pointer_problem("a", pointer + b" " * 2000) is None


def test_the_listing_of_git_itself_is_read(tmp_path: Path) -> None:
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "GIT_CONFIG_NOSYSTEM": "1"}
    git = ["git", "-C", str(tmp_path / "work"), "-c", "user.name=a", "-c", "user.email=a@b"]
    (tmp_path / "work" / "a").mkdir(parents=True)
    (tmp_path / "work" / "a" / "run").write_text("x")
    (tmp_path / "work" / "a" / "run").chmod(0o755)
    (tmp_path / "work" / "link").symlink_to("a/run")
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-qm", "one"]):
        subprocess.run([*git, *arguments], env=env, check=True)
    listing = subprocess.run(
        [*git, "ls-tree", "-rz", "--full-tree", "-l", "HEAD"], env=env, check=True, capture_output=True
    ).stdout
    found = read_whole(listing, Limits())
    assert {path: (entry.kind, entry.size) for path, entry in found.files.items()} == {
        "a/run": ("program", 1),
        "link": ("link", 5),
    }
