"""Names and patterns choose apps and services, and one that chooses nothing says what was probably meant."""

import pytest

from reconciler.planning.name_patterns import NoMatch, chosen
from reconciler.planning.subject import Subject

KNOWN = frozenset((
    Subject("app", "shop-web"), Subject("app", "shop-api"), Subject("app", "blog"), Subject("service", "shop-db"),
))  # fmt: skip


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["blog"], ["blog"]),
        (["shop-*"], ["shop-api", "shop-web"]),
        (["*"], ["blog", "shop-api", "shop-web"]),
        (["blog", "*"], ["blog", "shop-api", "shop-web"]),
        (["service/*"], ["service shop-db"]),
        (["shop-?eb", "service/shop-db"], ["shop-web", "service shop-db"]),
    ],
)
def test_words_choose_apps_and_services_each_once(words: list[str], expected: list[str]) -> None:
    assert [str(subject) for subject in chosen(words, KNOWN)] == expected


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["blgo"], "no app named 'blgo'; did you mean 'blog'?"),
        (["shopweb*"], "no app matches 'shopweb*'; did you mean 'shop-web'?"),
        (["service/shopdb"], "no service named 'shopdb'; did you mean 'service/shop-db'?"),
        (["blog", "zzz", "q*"], "no app named 'zzz'; no app matches 'q*'"),
        (["shop-db"], "no app named 'shop-db'"),
    ],
)
def test_a_word_that_chooses_nothing_is_an_error_with_what_was_meant(words: list[str], told: str) -> None:
    with pytest.raises(NoMatch) as error:
        chosen(words, KNOWN)
    assert str(error.value).startswith(told)
