"""A canary is judged by a test that may be looked at any time, and that a release which is no worse passes."""

import os
import random
from fractions import Fraction
from itertools import product
from math import comb, inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.planning.canary.judgement import (
    MOST_OF_A_LOOK,
    TIMES,
    Counts,
    Evidence,
    Trial,
    bounded_ratio,
    likelihood_ratio,
    share_answered,
    slow_bound,
    upper_rate,
)
from reconciler.planning.canary.weights import percent
from tests.support.canary_rules import Rule, Story, as_argo, as_flagger, by_evidence

IS_NIGHTLY = os.environ.get("RECONCILER_TESTS") == "nightly"
shares = st.fractions(min_value=Fraction(1, 1000), max_value=Fraction(999, 1000), max_denominator=1000)
odds = st.sampled_from([worse * times for worse in (1, 2, 3) for times in TIMES])


@given(st.integers(0, 12), shares, odds)
def test_one_look_is_expected_to_multiply_the_evidence_by_one_exactly(wrong: int, share: Fraction, times: int) -> None:
    expected = sum(
        comb(wrong, mine)
        * share**mine
        * (1 - share) ** (wrong - mine)
        * bounded_ratio(mine, wrong - mine, share, times)
        for mine in range(wrong + 1)
    )
    assert expected == 1


@given(st.integers(0, 8), st.integers(1, 12), st.integers(1, 40), odds)
def test_it_is_expected_to_be_at_most_one_when_the_arms_are_known_by_what_they_answered(
    wrong: int, canary: int, others: int, times: int
) -> None:
    wrong, share = min(wrong, canary + others), Fraction(canary, canary + others)
    expected = sum(
        Fraction(comb(canary, mine) * comb(others, wrong - mine), comb(canary + others, wrong))
        * bounded_ratio(mine, wrong - mine, share, times)
        for mine in range(max(0, wrong - others), min(canary, wrong) + 1)
    )
    assert expected <= 1


@given(st.integers(0, 8), shares, shares, odds)
def test_a_share_that_is_taken_for_larger_than_it_is_only_weakens_the_evidence(
    wrong: int, one: Fraction, other: Fraction, times: int
) -> None:
    true, taken = sorted((one, other))
    expected = sum(
        comb(wrong, mine) * true**mine * (1 - true) ** (wrong - mine) * bounded_ratio(mine, wrong - mine, taken, times)
        for mine in range(wrong + 1)
    )
    assert expected <= 1


@given(st.integers(0, 3), st.integers(0, 3), shares, odds)
def test_few_errors_count_each_by_itself(canary: int, others: int, share: Fraction, times: int) -> None:
    if canary + others <= MOST_OF_A_LOOK:
        assert bounded_ratio(canary, others, share, times) == likelihood_ratio(canary, others, share, times)


looks = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 400), st.floats(0.0, 1.0)), max_size=60)


@given(looks, st.integers(1, 4))
def test_evidence_is_never_negative_and_never_infinite(seen: list[tuple[int, int, float]], worse: int) -> None:
    evidence = Evidence()
    for canary, others, share in seen:
        evidence = evidence.after(canary, others, share, worse)
        assert 0.0 <= evidence.e_value < inf


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 20)), max_size=4))
def test_without_the_reserve_no_order_of_looks_matters(seen: list[tuple[int, int]]) -> None:
    orders = (seen, seen[::-1], sorted(seen))
    products = []
    for order in orders:
        products.append([Fraction(1)] * len(TIMES))
        for canary, others in order:
            factors = (bounded_ratio(canary, others, Fraction(1, 20), 2 * times) for times in TIMES)
            products[-1] = [before * factor for before, factor in zip(products[-1], factors, strict=True)]
    assert products[0] == products[1] == products[2]


def test_the_whole_of_two_looks_is_a_martingale_whatever_went_wrong_in_the_first() -> None:
    share = 0.25
    for canary, others in product(range(3), repeat=2):
        before = Evidence().after(canary, others, share, 2)
        expected = sum(
            comb(4, mine) * share**mine * (1 - share) ** (4 - mine) * before.after(mine, 4 - mine, share, 2).e_value
            for mine in range(5)
        )
        assert expected == pytest.approx(before.e_value, rel=1e-12)


def test_a_release_that_fails_always_is_found_after_few_requests_and_never_in_fewer_than_three_looks() -> None:
    trial, looks = Trial(), 0
    while not trial.harm(1):
        trial = trial.after(Counts(answered=1, failed=1), Counts(), 0.1, 2)
        looks += 1
    assert 3 <= looks <= 5
    at_once = Trial().after(Counts(answered=1000, failed=1000), Counts(), 0.1, 2)
    assert not at_once.harm(1), "all in one look may have one cause"


def test_a_release_that_begins_to_fail_after_a_long_good_time_is_found_as_well() -> None:
    luck, trial = random.Random(4), Trial()
    for look in Story(canary=0.01, others=0.01, looks=600).told(luck):
        trial = trial.after(look.canary, look.others, 0.1, 2)
    assert not trial.harm(1)
    before = trial.canary.answered
    for look in Story(canary=1.0, others=0.01, looks=30).told(luck):
        trial = trial.after(look.canary, look.others, 0.1, 2)
        if trial.harm(1):
            break
    assert trial.canary.answered - before < 150


def test_what_fails_for_both_moves_nothing() -> None:
    trial = Trial()
    for _ in range(30):
        trial = trial.after(Counts(answered=5, failed=5), Counts(answered=95, failed=95), 0.05, 2)
    assert not trial.harm(1)
    assert trial.failing.e_value < 1.0


def test_the_first_requests_of_a_worker_are_not_slow() -> None:
    cold = Trial()
    for _ in range(4):
        cold = cold.after(Counts(answered=5, slow=5), Counts(answered=95), 0.05, 2, workers=1)
    assert cold.slowing == Evidence()
    for _ in range(4):
        cold = cold.after(Counts(answered=5, slow=5), Counts(answered=95), 0.05, 2, workers=1)
    assert cold.harm(1).startswith("it is slower: 40 of 40 (100%) slow, the other release 0 of 760 (0%)")


def test_kept_connections_that_give_the_canary_more_than_its_share_are_not_held_against_it() -> None:
    assert share_answered(0.05, 0, 0) == 0.05
    assert share_answered(0.05, 500, 500) > 0.45
    assert share_answered(0.05, 0, 10_000) == 0.05


def test_so_many_requests_tell_what_they_could_not_have_shown() -> None:
    assert upper_rate(0, 412) == pytest.approx(3 / 412, rel=0.02)
    assert upper_rate(0, 1) == 1.0
    trial = Trial(canary=Counts(answered=412, failed=1), others=Counts(answered=8000, failed=25))
    assert trial.told == (
        "1 of 412 (0.24%) failed, the other release 0.31%; it may still fail in up to 1.1% of requests"
    )
    assert Trial().told == "it has answered nothing yet"


def test_slow_is_what_takes_longer_than_nearly_all_did_before_with_room_to_spare() -> None:
    bounds = (0.01, 0.025, 0.05, 0.1)
    assert slow_bound((0, 0, 0, 0, 0), bounds) is None
    assert slow_bound((100, 0, 0, 0, 0), bounds) == 1
    assert slow_bound((100, 3, 0, 0, 0), bounds) == 1
    assert slow_bound((50, 50, 0, 0, 0), bounds) == 2
    assert slow_bound((0, 0, 0, 0, 100), bounds) is None


def test_shares_are_told_with_two_digits() -> None:
    assert [percent(each) for each in (0.0, 0.0024, 0.05, 0.123, 1.0)] == ["0%", "0.24%", "5%", "12%", "100%"]


SAME = (0.0, 0.001, 0.01, 0.05, 0.2)


def aborted(story: Story, rule: Rule, runs: int, seed: int = 20) -> list[tuple[int, int]]:
    """Return at which look, and after how many requests of the canary, each run was aborted that was."""
    found = (rule(story.told(random.Random(seed * 1_000_003 + run))) for run in range(runs))
    return [each for each in found if each is not None]


def test_the_same_code_passes_where_rules_of_a_fixed_rate_abort_it() -> None:
    runs = 12
    for rate in SAME:
        story = Story(canary=rate, others=rate, looks=40)
        assert not aborted(story, by_evidence, runs), rate
    assert len(aborted(Story(canary=0.05, others=0.05), as_flagger, runs)) == runs
    assert len(aborted(Story(canary=0.2, others=0.2), as_argo, runs)) == runs


def test_a_worse_release_is_found() -> None:
    for story, most in ((Story(canary=0.05, others=0.001), 250), (Story(canary=1.0, others=0.0), 60)):
        found = aborted(story, by_evidence, 12)
        assert len(found) == 12
        assert sorted(requests for _, requests in found)[6] <= most


@pytest.mark.nightly
@pytest.mark.parametrize("rate", SAME)
@pytest.mark.parametrize(
    "trouble",
    [{}, {"bursts": 0.05}, {"hammers": 12}, {"requests": 4, "looks": 600}],
    ids=("calm", "bursts", "hammer", "few"),
)
def test_of_a_thousand_canaries_of_the_same_code_at_most_one_in_a_hundred_is_aborted(
    rate: float, trouble: dict[str, float]
) -> None:
    story = Story(canary=rate, others=rate, **trouble)  # type: ignore[arg-type]
    found = {rule.__name__: len(aborted(story, rule, 1000)) / 10 for rule in (by_evidence, as_flagger, as_argo)}
    print(f"same {rate:.1%} {trouble}: {found}")
    assert found["by_evidence"] <= 1.0


@pytest.mark.nightly
def test_worse_releases_are_found_within_few_requests() -> None:
    stories = {
        "1% to 5%": (Story(canary=0.05, others=0.01, looks=600), 1000),
        "0.1% to 5%": (Story(canary=0.05, others=0.001, looks=600), 200),
        "0 to 100%": (Story(canary=1.0, others=0.0), 60),
        "slow": (Story(canary=0.01, others=0.01, slow_canary=0.6), 80),
    }
    for name, (story, most) in stories.items():
        for rule in (by_evidence, as_flagger, as_argo):
            found = aborted(story, rule, 200)
            median = sorted(requests for _, requests in found)[len(found) // 2] if found else None
            print(f"{name}: {rule.__name__} finds {len(found) / 2:.0f}%, median {median} requests")
            if rule is by_evidence:
                assert len(found) == 200
                assert median is not None
                assert median <= most
