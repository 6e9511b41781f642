"""What is said of files that an app has written into its builds."""

from dataclasses import replace

from reconciler.planning.apps.files_in_builds import files_in_builds
from reconciler.planning.apps.revision import Recipe
from tests.support.plans import APP
from tests.world import serving

WRITTEN = {"b1": ("data", "db.sqlite3")}


def test_what_the_serving_build_holds_is_replaced_by_the_next_deploy() -> None:
    seen = serving(APP, builds=("b1",), written=WRITTEN)
    assert files_in_builds(APP, seen, "b1") == (
        "it wrote data, db.sqlite3 into its build, which the next deploy replaces; "
        "'persist: [data, db.sqlite3]' in its manifest keeps it"
    )


def test_what_stayed_in_a_build_before_is_told_until_it_is_persisted_or_the_build_is_gone() -> None:
    seen = serving(APP, builds=("b1", "b2"), written=WRITTEN)
    assert files_in_builds(APP, seen, "b2") == (
        "data, db.sqlite3, which it wrote, stayed in build b1; "
        "'persist: [data, db.sqlite3]' in its manifest takes it over"
    )
    for persist, left in ((("data",), "db.sqlite3,"), (("db.sqlite3", "dat"), "data,")):
        assert files_in_builds(replace(APP, recipe=Recipe(persist=persist)), seen, "b2").startswith(left)
    assert files_in_builds(replace(APP, recipe=Recipe(persist=("db.sqlite3", "data/"))), seen, "b2") == ""
    assert files_in_builds(APP, replace(seen, builds=("b2",)), "b2") == ""
