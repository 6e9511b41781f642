"""What is unpacked from an archive, and what is refused before anything is written outside."""

import bz2
import gzip
import io
import lzma
import struct
import tarfile
import tracemalloc
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from reconciler.staging.errors import SourceError
from reconciler.staging.source import archive
from reconciler.staging.source.completeness import is_complete
from reconciler.staging.source.snapshot import fingerprint, snapshot
from reconciler.staging.source.zip_files import opened_zip


def a_tar(path: Path, *members: tarfile.TarInfo | tuple[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz" if path.suffix in {".gz", ".tgz"} else "w:xz") as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                tar.addfile(info, io.BytesIO(member[1]))
    return path


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def a_zip(path: Path, **members: str) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, text in members.items():
            zipped.writestr(name, text)
    return path


@pytest.mark.parametrize("name", ["app.tar.gz", "app.tgz", "app.tar.xz"])
def test_a_tarball_is_unpacked_without_its_one_directory(tmp_path: Path, name: str) -> None:
    link = special("app-1.0/link", tarfile.SYMTYPE, "wsgi.py")
    packed = a_tar(tmp_path / name, ("app-1.0/wsgi.py", b"x"), ("app-1.0/lib/a.py", b"y"), link)
    copy = tmp_path / "copy"
    assert snapshot(str(packed), copy) == fingerprint(str(packed))
    assert (copy / "wsgi.py").read_text() == "x"
    assert (copy / "lib/a.py").read_text() == "y"
    assert (copy / "link").read_text() == "x"
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, "copy"])


def test_a_zip_is_unpacked_and_any_change_changes_its_fingerprint(tmp_path: Path) -> None:
    packed = a_zip(tmp_path / "app.zip", **{"wsgi.py": "x", "static/a.css": "y"})
    before = fingerprint(str(packed))
    snapshot(str(packed), tmp_path / "copy")
    assert (tmp_path / "copy/static/a.css").read_text() == "y"
    a_zip(packed, **{"wsgi.py": "z", "static/a.css": "y"})
    assert fingerprint(str(packed)) != before


def test_a_wheel_brings_its_requirements(tmp_path: Path) -> None:
    metadata = "Name: shop\nVersion: 1\nRequires-Dist: bottle>=0.12\nRequires-Dist: pytest; extra == 'test'\n"
    packed = a_zip(tmp_path / "shop-1-py3-none-any.whl", **{"shop/wsgi.py": "", "shop-1.dist-info/METADATA": metadata})
    snapshot(str(packed), tmp_path / "copy")
    assert (tmp_path / "copy/requirements.txt").read_text() == "bottle>=0.12\n"


@pytest.mark.parametrize(
    ("member", "says"),
    [
        (("/etc/passwd", b""), "is outside the directory"),
        (("../evil", b""), "is outside the directory"),
        (("a/../../evil", b""), "is outside the directory"),
        (special("out", tarfile.SYMTYPE, "/etc/passwd"), "a link to '/etc/passwd', outside"),
        (special("a/out", tarfile.SYMTYPE, "../../etc"), r"a link to '\.\./\.\./etc', outside"),
        (special("hard", tarfile.LNKTYPE, "x"), "a hard link: create the archive with --hard-dereference"),
        (special("tty", tarfile.CHRTYPE), "not a file, directory or link"),
        (special("pipe", tarfile.FIFOTYPE), "not a file, directory or link"),
    ],
)
def test_what_would_leave_the_directory_or_is_no_file_is_refused(
    tmp_path: Path, member: tarfile.TarInfo | tuple[str, bytes], says: str
) -> None:
    packed = a_tar(tmp_path / "app.tar.gz", ("ok", b"1"), member)
    with pytest.raises(SourceError, match=says):
        fingerprint(str(packed))
    with pytest.raises(SourceError, match=says):
        archive.unpack(packed, tmp_path / "inner" / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"app.tar.gz", "inner"}
    assert [path.name for path in (tmp_path / "inner").iterdir()] == ["out"]


def test_a_member_never_goes_through_a_link_that_an_earlier_one_was(tmp_path: Path) -> None:
    inner = special("dir", tarfile.SYMTYPE, "deep/er")
    packed = a_tar(tmp_path / "app.tar.gz", ("deep/er/x", b""), inner, special("dir/up", tarfile.SYMTYPE, "../../.."))
    with pytest.raises(SourceError, match=r"leads through the link 'dir'"):
        archive.unpack(packed, tmp_path / "out")


@pytest.mark.parametrize("turned", [False, True])
def test_a_link_that_leads_out_by_way_of_another_is_refused(tmp_path: Path, turned: bool) -> None:
    up = special("deep/in/here/up", tarfile.SYMTYPE, "../../..")
    out = special("out", tarfile.SYMTYPE, "deep/in/here/up/../../etc")
    packed = a_tar(tmp_path / "app.tar.gz", *((out, up) if turned else (up, out)))
    for read in (archive.check, lambda packed: archive.unpack(packed, tmp_path / "out")):
        with pytest.raises(SourceError, match=r"it contains 'out', a link to 'deep/in/here/up/\.\./\.\./etc', outside"):
            read(packed)


def test_links_that_lead_round_in_a_circle_or_through_one_another_inside_are_kept(tmp_path: Path) -> None:
    here = special("here", tarfile.SYMTYPE, "a/b")
    up = special("a/b/up", tarfile.SYMTYPE, "..")
    circle = special("circle", tarfile.SYMTYPE, "circle")
    packed = a_tar(tmp_path / "app.tar.gz", ("a/x", b"1"), here, up, special("x", tarfile.SYMTYPE, "here/up/x"), circle)
    archive.unpack(packed, tmp_path / "out")
    assert (tmp_path / "out/x").read_text() == "1"


def test_a_header_that_swells_is_not_read_into_memory(tmp_path: Path) -> None:
    member = tarfile.TarInfo("a")
    member.pax_headers = {"comment": "x" * (2 << 20)}
    packed = a_tar(tmp_path / "app.tar.gz", member)
    with pytest.raises(SourceError, match=r"it contains a header of 20\d+ bytes"):
        archive.check(packed)


def test_headers_count_as_content_that_swells(tmp_path: Path) -> None:
    member = tarfile.TarInfo("a")
    member.pax_headers = {"comment": "x" * 1_000_000}
    packed = a_tar(tmp_path / "app.tar.gz", *[member] * 72)
    with pytest.raises(SourceError, match="its content is more than 200 times its size"):
        archive.check(packed)


def test_a_link_in_a_zip_is_as_long_as_a_path_may_be(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("link")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "app.zip", "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr(link, "x" * 4096)
    with pytest.raises(SourceError, match="it contains 'link', a link to an impossible path"):
        archive.check(tmp_path / "app.zip")


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ([("a", b""), ("a/b", b"")], "it contains 'a' twice|which cannot be created: Not a directory"),
        ([("a" * 300, b"")], "which cannot be created: File name too long"),
        ([special("a", tarfile.SYMTYPE, "")], "it contains 'a', a link to an impossible path"),
    ],
)
def test_names_that_cannot_be_are_told_as_the_archives_fault(
    tmp_path: Path, members: list[tarfile.TarInfo | tuple[str, bytes]], says: str
) -> None:
    packed = a_tar(tmp_path / "app.tar.gz", *members)
    with pytest.raises(SourceError, match=says):
        archive.unpack(packed, tmp_path / "out")


@pytest.mark.parametrize("name", ["app.zip", "app.tar.gz"])
def test_a_bomb_is_refused_before_it_fills_the_disk(tmp_path: Path, name: str) -> None:
    zeros = b"\0" * (80 << 20)
    packed = tmp_path / name
    if name.endswith(".zip"):
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as zipped:
            zipped.writestr("zeros", zeros)
    else:
        a_tar(packed, ("zeros", zeros))
    with pytest.raises(SourceError, match="its content is more than 200 times its size"):
        archive.unpack(packed, tmp_path / "out")
    assert (tmp_path / "out/zeros").stat().st_size <= 65 << 20


@pytest.mark.parametrize("name", ["app.tar.gz", "app.tar.xz", "app.tar.bz2"])
def test_what_expands_a_thousandfold_is_never_in_memory_as_a_whole(tmp_path: Path, name: str) -> None:
    packed, content = tmp_path / name, tarfile.TarInfo("wsgi.py").tobuf() + b"\0" * (64 << 20)
    match packed.suffix:
        case ".gz":
            packed.write_bytes(gzip.compress(content))
        case ".bz2":
            packed.write_bytes(bz2.compress(content))
        case _:
            packed.write_bytes(lzma.compress(content))
    tracemalloc.start()
    try:
        archive.check(packed)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 16 << 20


@pytest.mark.parametrize(("method", "said"), [(zipfile.ZIP_BZIP2, "bzip2"), (zipfile.ZIP_LZMA, "lzma")])
def test_a_method_that_zipfile_undoes_without_a_bound_is_refused(tmp_path: Path, method: int, said: str) -> None:
    packed = tmp_path / "app.zip"
    with zipfile.ZipFile(packed, "w", method) as zipped:
        zipped.writestr("wsgi.py", "x")
    with pytest.raises(SourceError, match=f"it contains 'wsgi.py', compressed by {said}: create it with deflate"):
        archive.check(packed)


@pytest.mark.parametrize("name", ["app.zip", "app.tar.gz", "app.tar.xz"])
@pytest.mark.parametrize("part", [0.0, 0.3, 0.9])
def test_half_an_archive_is_no_archive(tmp_path: Path, name: str, part: float) -> None:
    text = "".join(f"{number}\n" for number in range(20_000))
    packed = tmp_path / name
    a_zip(packed, a=text) if name.endswith(".zip") else a_tar(packed, ("a", text.encode()))
    packed.write_bytes(packed.read_bytes()[: int(packed.stat().st_size * part)])
    with pytest.raises(SourceError, match=r"cannot read the source at .*cannot be opened .*is it still being copied"):
        fingerprint(str(packed))


@pytest.mark.parametrize("size", [512, 1024, 1100, 1536])
def test_a_tar_that_was_cut_between_or_inside_members_is_no_archive(tmp_path: Path, size: int) -> None:
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as tarred:
        for name in ("wsgi.py", "later.py"):
            member = tarfile.TarInfo(name)
            tarred.addfile(member)
    packed = tmp_path / "app.tar"
    packed.write_bytes(whole.getvalue())
    archive.check(packed)
    packed.write_bytes(whole.getvalue()[:size])
    if size == 1536:  # one of the two empty blocks is enough
        archive.check(packed)
        return
    with pytest.raises(SourceError, match=r"cannot be opened .*is it still being copied"):
        archive.check(packed)


def test_an_archive_is_read_once_until_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed, read, check = a_tar(tmp_path / "app.tar.gz", ("wsgi.py", b"1")), list[Path](), archive.check

    def reading(path: Path) -> None:
        read.append(path)
        check(path)

    monkeypatch.setattr(archive, "check", reading)
    assert is_complete(str(packed))
    fingerprint(str(packed))
    assert read == [packed]
    packed.write_bytes(packed.read_bytes()[:-20])
    assert not is_complete(str(packed))
    with pytest.raises(SourceError, match=r"is it still being copied"):
        fingerprint(str(packed))
    assert read == [packed] * 3


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_what_only_a_mac_reads_is_left_out(tmp_path: Path, kind: str) -> None:
    names = ("shop/wsgi.py", "._shop", "shop/._wsgi.py", "__MACOSX/._shop", "__MACOSX/shop/._wsgi.py", ".DS_Store")
    packed = tmp_path / f"app.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(packed, "w") as zipped:
            for name in names:
                zipped.writestr(name, "x")
    else:
        a_tar(packed, *((name, b"x") for name in names))
    snapshot(str(packed), tmp_path / "code")
    assert [path.name for path in (tmp_path / "code").iterdir()] == ["wsgi.py"]


def test_the_separators_of_windows_are_understood_where_windows_wrote_them(tmp_path: Path) -> None:
    for system in (0, 3):
        with zipfile.ZipFile(tmp_path / f"app{system}.zip", "w") as zipped:
            for name in ("shop\\", "shop\\wsgi.py"):
                member = zipfile.ZipInfo(name)
                member.create_system = system
                zipped.writestr(member, "")
    snapshot(str(tmp_path / "app0.zip"), tmp_path / "code")
    assert [path.name for path in (tmp_path / "code").iterdir()] == ["wsgi.py"]
    with pytest.raises(SourceError, match=r"it contains 'shop.*', a name with a backslash"):
        archive.check(tmp_path / "app3.zip")


def test_a_tarball_of_a_directory_itself_is_unpacked(tmp_path: Path) -> None:
    """`tar -cf app.tgz .` begins with a member of the name `.`, as most people pack."""
    packed = a_tar(tmp_path / "app.tgz", special(".", tarfile.DIRTYPE), ("./wsgi.py", b"x"))
    snapshot(str(packed), tmp_path / "copy")
    assert (tmp_path / "copy" / "wsgi.py").read_text() == "x"


def listing(members: int, name: str = "x") -> bytes:
    """A zip file that is all list: so many empty members of one name."""
    member = struct.pack("<4s24xHHH12x", b"PK\1\2", len(name), 0, 0) + name.encode()
    size, end = members * len(member), b""
    if members > 0xFFFF:
        end += struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, members, members, size, 0)
        end += struct.pack("<4sIQI", b"PK\6\7", 0, size, 1)
    count = min(members, 0xFFFF)
    end += struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, count, count, size, 0, 0)
    return member * members + end


def test_a_list_of_too_many_files_is_refused_before_it_is_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "app.zip"
    path.write_bytes(listing(600_000))
    tracemalloc.start()
    try:
        with pytest.raises(SourceError, match="it contains more than 200000 files"):
            archive.check(path)
        assert not is_complete(str(path))
        assert tracemalloc.get_traced_memory()[1] < 2 * path.stat().st_size
    finally:
        tracemalloc.stop()


def test_one_long_list_is_in_memory_at_a_time_and_short_ones_wait_for_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long, short = tmp_path / "long.zip", tmp_path / "short.zip"
    long.write_bytes(listing(30_000))
    short.write_bytes(listing(3))
    monkeypatch.setattr("reconciler.staging.source.zip_files._PATIENCE_S", 0.01)
    with opened_zip(long) as zipped:
        assert len(zipped.namelist()) == 30_000
        with ThreadPoolExecutor(1) as other, pytest.raises(SourceError, match="that of another app") as refused:
            other.submit(archive.check, long).result()
        assert refused.value.retry == "soon"
        with opened_zip(short) as beside:
            assert len(beside.namelist()) == 3
    with opened_zip(long) as zipped:
        assert len(zipped.namelist()) == 30_000
    assert zipped.namelist() == []  # what is part of a cycle lives on until garbage is collected


def test_links_that_would_fill_the_memory_are_refused(tmp_path: Path) -> None:
    members = (special(f"link{number}", tarfile.SYMTYPE, "x/" * 2000) for number in range(5000))
    with pytest.raises(SourceError, match="it contains links of more than 16 MiB"):
        archive.check(a_tar(tmp_path / "app.tar", *members))
