"""The advice on files in builds is a line that a manifest can hold."""

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from reconciler.planning.wording import counted, persist_field, stayed_in_build, written_into_build

_NAMES = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z"), exclude_characters="\\/"), min_size=1)


def held(field: str) -> Any:
    return yaml.safe_load(field)["persist"]


@pytest.mark.parametrize(
    ("places", "field"),
    [
        (("db.sqlite3", "media/"), "persist: [db.sqlite3, media/]"),
        (
            ("a, b", "true", "1.0", "#x", "k: v", 'say "hi"'),
            'persist: ["a, b", "true", "1.0", "#x", "k: v", "say \\"hi\\""]',
        ),
        (("media/\\udcff.png", "media/a.png"), "persist: [media/, media/a.png]"),
        (("media/\\udcff/x", "media/\\udcfe/"), "persist: [media/]"),
        (("\\udcff",), ""),
    ],
)
def test_places_become_a_field_of_a_manifest(places: tuple[str, ...], field: str) -> None:
    assert persist_field(places) == field


@given(st.lists(_NAMES, min_size=1, max_size=10, unique=True))
def test_yaml_reads_the_places_again(places: list[str]) -> None:
    assert held(persist_field(places)) == places


def test_of_very_many_places_the_first_are_named_and_the_others_counted() -> None:
    places = [f"cache-{number}.txt" for number in range(1000)]
    assert held(persist_field(places)) == places[:10]
    for text in (written_into_build(places), stayed_in_build(places, "b1")):
        assert text.endswith("; 990 more can be named there, or a directory that has them")
        assert len(text) < 400


def test_what_no_manifest_can_name_is_said() -> None:
    assert "no manifest can name it" in written_into_build(("\\udcff",))
    assert "persist" not in stayed_in_build(("\\udcff",), "b1")
    assert written_into_build(("a b",)).endswith("""; 'persist: ["a b"]' in its manifest keeps it""")
    assert stayed_in_build(("media/",), "b1").endswith("; 'persist: [media/]' in its manifest takes it over")


@pytest.mark.parametrize(
    ("number", "noun", "told"),
    [(1, "app", "1 app"), (0, "app", "0 apps"), (1, "stray process", "1 stray process"), (2, "process", "2 processes")],
)
def test_a_number_has_its_noun_beside_it(number: int, noun: str, told: str) -> None:
    assert counted(number, noun) == told
