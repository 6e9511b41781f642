"""What people see of two sources that differ: files and lines, and no secret."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.inspection.source_comparison import SourceComparison, source_comparison
from reconciler.planning.apps.app import App
from reconciler.planning.apps.observed import Observed, SourceState
from reconciler.planning.apps.revision import Recipe, Source
from reconciler.staging.differences import mark_copied
from reconciler.staging.source.snapshot import fingerprint
from reconciler.state.paths import StatePaths
from reconciler.vault.secret_texts import SecretTexts
from tests.world import an_app

MINUS = "\N{MINUS SIGN}"
SECRETS = SecretTexts({"hunter2-hunter2"})


class Shop:
    """An app whose source was built, and then edited."""

    def __init__(self, root: Path, source: str = "shop", **fields: object) -> None:
        self.paths = StatePaths(state=root / "state")
        self.source = root / source
        self.source.mkdir(parents=True)
        self.app: App = an_app(name="shop", source=Source(path=str(self.source)), **fields)

    def write(self, **files: str | bytes) -> None:
        for name, content in files.items():
            path = self.source / name.replace("__", "/").replace("_dot_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)

    def build(self) -> Path:
        """Stage the source as it is; return its build."""
        build = self.paths.builds("shop") / self.app.build(fingerprint(str(self.source))).id
        shutil.copytree(self.source, build / "code", symlinks=True)
        mark_copied(build)
        self.good = self.app.revision(fingerprint(str(self.source)))
        return build

    def compared(self, files: tuple[str, ...] = ()) -> SourceComparison | str | None:
        content = fingerprint(str(self.source))
        observed = Observed(source=SourceState(source=self.app.source, content=content), known_good=(self.good,))
        return source_comparison(self.paths, self.app, observed, files)

    def shown(self, files: tuple[str, ...] = ()) -> dict[str, tuple[str, ...]]:
        found = self.compared(files)
        assert isinstance(found, SourceComparison), found
        return {each.title: each.lines for each in found.shown(SECRETS)}


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    shop = Shop(tmp_path)
    shop.write(app_dot_py="one\ntwo\n", logo=b"\0\1", same="same")
    shop.build()
    return shop


def test_a_source_that_was_edited_since_is_shown_by_file_and_line(shop: Shop) -> None:
    shop.write(app_dot_py="one\n2\n", logo=b"\0\2", new="x\n")
    assert shop.shown() == {
        f"app.py +1 {MINUS}1": ("--- a/app.py", "+++ b/app.py", "@@ -1,2 +1,2 @@", " one", "-two", "+2"),
        "logo (binary)": (),
        "new new": ("--- a/new", "+++ b/new", "@@ -0,0 +1 @@", "+x"),
    }


def test_a_source_that_is_as_it_was_built_is_not_compared(shop: Shop) -> None:
    assert shop.compared() is None


def test_of_files_that_hold_secrets_only_the_name_is_shown(shop: Shop) -> None:
    files = ("_dot_env", "conf__token", "conf__other", "key_dot_txt")
    shop.write(**dict.fromkeys(files, "DB=first\n"))
    shop.build()
    shop.write(**dict.fromkeys(files, "DB=second\n"))
    shop.write(key_dot_txt="-----BEGIN PRIVATE KEY-----\nDB=second\n")
    assert shop.shown((str(shop.source / "conf" / "other"),)) == {
        f".env +1 {MINUS}1, not shown: it holds secrets": (),
        f"conf/other +1 {MINUS}1, not shown: it holds secrets": (),
        f"conf/token +1 {MINUS}1, not shown: it holds secrets": (),
        f"key.txt +2 {MINUS}1, not shown: it holds secrets": (),
    }


def test_a_file_of_variables_in_the_manifest_is_not_shown_before_it_was_read(tmp_path: Path) -> None:
    shop = Shop(tmp_path, env_lists=(str(tmp_path / "shop" / "vars"),), env_files={"A": str(tmp_path / "shop" / "one")})
    shop.write(vars="A=1\n", one="1", link__real="1")
    shop.build()
    shop.write(vars="A=2\n", one="2")
    assert all(not lines for lines in shop.shown().values())


def test_secrets_in_other_files_are_redacted(shop: Shop) -> None:
    shop.write(app_dot_py="password = 'abcdef'\nurl = 'http://me:abcdef@host'\nx = 'hunter2-hunter2'\n")
    lines = "\n".join(shop.shown()[f"app.py +3 {MINUS}2"])
    assert "abcdef" not in lines
    assert "hunter2" not in lines
    assert lines.count("•••") == 3


def test_what_every_build_shares_is_no_difference(tmp_path: Path) -> None:
    shop = Shop(tmp_path, recipe=Recipe(persist=("data", "db.sqlite3")))
    shop.write(app_dot_py="one\n", data__rows="1", db_dot_sqlite3=b"\0")
    build = shop.build()
    shutil.rmtree(build / "code" / "data")
    (build / "code" / "db.sqlite3").unlink()
    shop.write(app_dot_py="two\n", data__rows="2")
    assert list(shop.shown()) == [f"app.py +1 {MINUS}1"]


def a_link_that_leads_out(source: Path) -> None:
    (source / "app.py").unlink()
    (source / "app.py").symlink_to("/etc/passwd")


def a_file_that_is_gone(source: Path) -> None:
    (source / "app.py").unlink()


@pytest.mark.parametrize("change", [a_link_that_leads_out, a_file_that_is_gone])
def test_what_changes_while_it_is_shown_shows_no_lines(shop: Shop, change: Callable[[Path], None]) -> None:
    shop.write(app_dot_py="one\n2\n")
    found = shop.compared()
    assert isinstance(found, SourceComparison)
    change(shop.source)
    assert [each.lines for each in found.shown(SECRETS)] == [()]


def test_what_cannot_be_compared_says_why(shop: Shop, tmp_path: Path) -> None:
    shop.write(app_dot_py="one\n2\n")
    shutil.rmtree(shop.paths.builds("shop") / shop.good.build.id)
    assert shop.compared() == f"build {shop.good.build.id} is not kept"
    packed = Shop(tmp_path / "packed", "shop.zip")
    packed.write(app_dot_py="one\n")
    packed.build()
    shutil.rmtree(packed.source)
    shutil.make_archive(str(packed.source.with_suffix("")), "zip", shop.source)
    assert packed.compared() == "the source is an archive, which is compared once it is staged"
