"""The instants of schedules, equal to those of Debian's cron; what is no schedule is refused in words."""

import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import islice
from zoneinfo import ZoneInfo, available_timezones

import pytest
from cronsim import CronSim
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.planning.schedules.expression import expression_of
from reconciler.planning.schedules.schedule import Schedule
from reconciler.planning.schedules.times import (
    between,
    count_between,
    gaps_and_folds,
    in_words,
    latest,
    next_after,
    upcoming,
)
from reconciler.planning.schedules.zones import next_change, offset_s, zone_of
from tests.support import debian_cron

DAY = 86400
FIELDS = "minute, hour, day of the month, month, day of the week"
# With the year in which ten years begin: those of the rules that are worth it.
ZONES = {
    "UTC": 2020, "Europe/Berlin": 2016, "Europe/London": 2020, "Europe/Dublin": 2016, "Europe/Lisbon": 2016,
    "Europe/Istanbul": 2010, "Europe/Moscow": 2008, "Europe/Volgograd": 2014, "Europe/Chisinau": 2016,
    "America/New_York": 2020, "America/Los_Angeles": 2004, "America/St_Johns": 2006, "America/Goose_Bay": 2004,
    "America/Sao_Paulo": 2012, "America/Santiago": 2016, "America/Asuncion": 2017, "America/Havana": 2016,
    "America/Caracas": 2007, "America/Nuuk": 2018, "America/Mexico_City": 2016, "Pacific/Easter": 2016,
    "Australia/Lord_Howe": 2016, "Australia/Sydney": 2016, "Pacific/Auckland": 2016, "Pacific/Chatham": 2016,
    "Pacific/Apia": 2007, "Pacific/Fiji": 2012, "Pacific/Norfolk": 2013, "Pacific/Tongatapu": 2012,
    "Asia/Kolkata": 2016, "Asia/Kathmandu": 2016, "Asia/Tehran": 2016, "Asia/Amman": 2016, "Asia/Beirut": 2016,
    "Asia/Gaza": 2008, "Asia/Jerusalem": 2016, "Asia/Pyongyang": 2012, "Asia/Ulaanbaatar": 2009,
    "Africa/Cairo": 2016, "Africa/Casablanca": 2016, "Africa/Juba": 2014, "Antarctica/Troll": 2016,
    "Antarctica/Casey": 2014, "Atlantic/Azores": 2016,
}  # fmt: skip
TIMES = (
    "* * * * *", "*/5 * * * *", "*/7 * * * *", "*/30 * * * *", "0 * * * *", "59 * * * *", "0-59/20 * * * *",
    "0 */2 * * *", "0 */3 * * *", "*/30 */2 * * *", "*/10 2 * * *", "* 3 * * *", "*/15 0 * * *", "*/30 1 * * 0",
    "15 */4 * * 1-5", "0 */12 * * *", "*/20 23 * * *", "30 2 * * *", "0 2 * * *", "0 3 * * *", "15 2,3 * * *",
    "30 1 * * *", "59 1 * * *", "0 0 * * *", "15 0 * * *", "1 0 * * *", "30 23 * * *", "45 23 * * *", "30 3 * * *",
    "0,30 1-3 * * *", "10-50/10 2 * * *", "0 0 * * 0", "30 2 * * 0", "15 2 * * sun", "0 12 * * mon-fri",
    "0 0 1 * *", "30 2 1 * *", "0 0 31 * *", "0 6 29 2 *", "0 0 1 1 *", "0 0 1,15 * *", "30 1 25-31 10 0",
    "30 2 25-31 3 *", "0 0 13 * 5", "0 0 */2 * 1", "0 9 */10 * *", "0 0 * * 7", "0 0 * * 1-7/3", "5 4 * jan,jul *",
    "20 2 * 3,10 *", "0 12 30 12 *", "0 12 * 12 *", "0 0 30 12 *", "30 0 * * 6", "30 0 * 4,9 *", "0 1 * * *",
    "0 22-23 * * *", "15 1-2 * * 6,0", "0 4 1-7 * *", "0 18 * * tue,thu", "30 2-3 27 3 *",
)  # fmt: skip


def schedule(at: str, zone: str = "UTC") -> Schedule:
    return Schedule(app="shop", name="cleanup", command=("clean",), at=at, zone=zone)


def refusal(read: Callable[[str], object], text: str) -> str:
    try:
        read(text)
    except ValueError as error:
        return str(error) or "no reason"
    return ""


def epoch(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())


def shown(at: str, zone: str, after: str, number: int) -> list[str]:
    times = upcoming(schedule(at, zone), epoch(after), number)
    return [datetime.fromtimestamp(each, ZoneInfo(zone)).strftime("%m-%d %H:%M%z") for each in times]


@pytest.mark.parametrize(
    ("at", "zone", "after", "expected"),
    [
        ("30 2 * * *", "Europe/Berlin", "2027-03-27T12:00Z", ["03-28 03:00+0200", "03-29 02:30+0200"]),
        ("30 2 * * *", "Europe/Berlin", "2027-10-30T12:00Z", ["10-31 02:30+0200", "11-01 02:30+0100"]),
        ("15 2,3 * * *", "Europe/Berlin", "2027-03-27T12:00Z", ["03-28 03:00+0200", "03-28 03:15+0200"]),
        ("0 */2 * * *", "Europe/Berlin", "2027-03-28T00:30Z", ["03-28 04:00+0200", "03-28 06:00+0200"]),
        ("30 2 * * *", "Europe/Berlin", "2027-10-31T00:30Z", ["11-01 02:30+0100", "11-02 02:30+0100"]),
        ("* 3 * * *", "Australia/Lord_Howe", "2026-10-03T14:00Z", ["10-04 03:00+1100", "10-04 03:01+1100"]),
        ("*/30 1 * * 0", "America/Santiago", "2026-09-06T03:00Z", ["09-06 01:00-0300", "09-06 01:30-0300"]),
        ("0 12 30 12 *", "Pacific/Apia", "2011-12-29T20:00Z", ["12-30 12:00+1400", "12-30 12:00+1400"]),
        ("@daily", "Pacific/Apia", "2011-12-29T20:00Z", ["12-31 00:00+1400", "01-01 00:00+1400"]),
    ],
)
def test_nights_in_which_clocks_change(at: str, zone: str, after: str, expected: list[str]) -> None:
    assert shown(at, zone, after, 2) == expected


@pytest.mark.parametrize("zone", ["Europe/Berlin", "Australia/Lord_Howe", "America/Santiago", "Asia/Gaza"])
def test_the_nights_of_a_few_zones_equal_those_of_debians_cron(zone: str) -> None:
    of = ZoneInfo(zone)
    start = epoch(f"{ZONES[zone]}-01-01T00:00Z")
    jobs = [debian_cron.job(each) for each in TIMES]
    low, high = debian_cron.nights(debian_cron.changes_of(of, start, start + 250 * DAY))[0]
    walked = debian_cron.walk(jobs, of, low, high)
    for at, expected in zip(TIMES, walked, strict=True):
        assert list(between(schedule(at, zone), low - 1, high - 1)) == expected, at


@pytest.mark.nightly
@pytest.mark.parametrize("zone", ZONES)
def test_ten_years_equal_those_of_debians_cron(zone: str) -> None:
    of = ZoneInfo(zone)
    start = epoch(f"{ZONES[zone]}-01-01T00:00Z")
    end = epoch(f"{ZONES[zone] + 10}-01-01T00:00Z")
    changes = debian_cron.changes_of(of, start, end)
    nights = debian_cron.nights(changes)
    walked = [debian_cron.walk([debian_cron.job(at) for at in TIMES], of, low, high) for low, high in nights]
    for index, at in enumerate(TIMES):
        asked = schedule(at, zone)
        by_night = [each[index] for each in walked]
        if len(list(between(asked, start, start + DAY))) > 24:  # every few minutes: between the nights only how often
            for (low, high), expected in zip(nights, by_night, strict=True):
                assert list(between(asked, low - 1, high - 1)) == expected, at
            total = sum(map(len, by_night)) + sum(debian_cron.plain_counts(at, of, start, end, nights))
        else:
            whole = sorted(
                [*debian_cron.plain(at, of, start, end, nights), *(each for one in by_night for each in one)]
            )
            assert list(between(asked, start - 1, end - 1)) == whole, at
            total = len(whole)
        assert count_between(asked, start - 1, end - 1) == total, at


@pytest.mark.parametrize("at", TIMES)
def test_times_without_a_zone_equal_those_of_cronsim(at: str) -> None:
    start = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)
    expected = [int(each.timestamp()) for each in islice(CronSim(at, start), 30)]
    assert list(upcoming(schedule(at), start.timestamp(), 30)) == expected


zones = st.sampled_from([*ZONES, "Europe/Berlin", "Australia/Lord_Howe", "Pacific/Apia", "Asia/Gaza"])
instants = st.integers(epoch("2004-01-01T00:00Z"), epoch("2036-01-01T00:00Z"))


@settings(deadline=None)
@given(st.sampled_from(TIMES), zones, instants, st.integers(0, 40 * DAY))
def test_counting_and_looking_back_equal_going_through_all(at: str, zone: str, start: int, length: int) -> None:
    asked = schedule(at, zone)
    length = min(length, 2 * DAY) if at.startswith("*") else length
    found = list(between(asked, start, start + length))
    assert found == sorted(set(found))
    assert count_between(asked, start, start + length) == len(found)
    assert list(latest(asked, start, start + length, 10)) == found[-10:]
    middle = start + length // 2
    assert list(between(asked, middle, start + length)) == [each for each in found if each > middle]


@settings(deadline=None)
@given(zones, instants, instants)
def test_the_next_change_of_a_zone_is_where_its_offset_becomes_another(zone: str, start: int, end: int) -> None:
    of = zone_of(zone)
    change = next_change(of, start, end)
    if change is not None:
        assert start < change <= end
        assert offset_s(of, change - 1) != offset_s(of, change)
        assert next_change(of, start, change - 1) is None


@pytest.mark.parametrize(
    ("at", "message"),
    [
        ("30 25 * * *", '"30 25 * * *": bad hour, expected 0 to 23'),
        ("60 * * * *", '"60 * * * *": bad minute, expected 0 to 59'),
        ("0 0 0 * *", '"0 0 0 * *": bad day of the month, expected 1 to 31'),
        ("0 0 * 13 *", '"0 0 * 13 *": bad month, expected 1 to 12, or JAN to DEC'),
        ("0 0 * * 8", '"0 0 * * 8": bad day of the week, expected 0 to 7, or SUN to SAT'),
        ("1-0 * * * *", '"1-0 * * * *": bad minute, expected 0 to 59'),
        ("0 0 30 2 *", '"0 0 30 2 *" never comes'),
        ("0 0 31 4,6,9,11 *", '"0 0 31 4,6,9,11 *" never comes'),
        ("@reboot", '"@reboot": expected @hourly, @daily, @weekly, @monthly or @yearly'),
        (
            "* * * * * *",
            f'"* * * * * *": expected five fields ({FIELDS}), or a name such as @daily',
        ),
    ],
)
def test_what_is_no_time_is_refused_in_words(at: str, message: str) -> None:
    assert refusal(expression_of, at) == message


@pytest.mark.parametrize(
    ("zone", "message"),
    [
        ("Europe/Berln", 'there is no time zone "Europe/Berln"; Europe/Berlin?'),
        ("new york", 'there is no time zone "new york"; America/New_York?'),
        ("Europe", 'there is no time zone "Europe", expected a name such as Europe/Berlin or UTC'),
        ("../UTC", 'there is no time zone "../UTC", expected a name such as Europe/Berlin or UTC'),
    ],
)
def test_what_is_no_zone_is_refused_with_the_one_that_is_meant(zone: str, message: str) -> None:
    assert refusal(zone_of, zone) == message


@settings(deadline=None, max_examples=40)
@given(
    st.one_of(
        st.text(max_size=40),
        st.text("0123456789*/,-#Lw@ \tMON", max_size=40),
        st.lists(st.text("0123456789*/,-#LW", min_size=1, max_size=8), min_size=5, max_size=5).map(" ".join),
    ),
    st.one_of(st.text(max_size=20), st.sampled_from(sorted(available_timezones()))),
)
def test_any_text_is_a_schedule_or_is_refused_in_one_sentence(at: str, zone: str) -> None:
    refused = [refusal(expression_of, at), refusal(zone_of, zone)]
    if refused == ["", ""]:
        asked = schedule(at, zone)
        assert in_words(asked)
        found = next_after(asked, 1.8e9)
        assert found is None or found > 1.8e9
        gaps_and_folds(asked, 1.8e9, 366 * DAY)


def test_a_clock_beyond_all_calendars_has_no_next_time() -> None:
    assert next_after(schedule("0 0 29 2 *"), 253402300000.0) is None


def test_a_changed_night_is_told_with_what_will_happen() -> None:
    now = epoch("2027-01-01T00:00Z")
    told = [each.told for each in gaps_and_folds(schedule("30 2 * * *", "Europe/Berlin"), now, 366 * DAY)]
    assert told == [
        "on 2027-03-28 the clocks of Europe/Berlin skip 02:00 to 03:00: it runs at 03:00 in place of 02:30",
        "on 2027-10-31 the clocks of Europe/Berlin show 02:00 to 03:00 twice: it runs at 02:30 the first time only",
    ]
    wild = [each.told for each in gaps_and_folds(schedule("0 */2 * * *", "Europe/Berlin"), now, 366 * DAY)]
    assert wild == [
        "on 2027-03-28 the clocks of Europe/Berlin skip 02:00 to 03:00: it does not run at 02:00",
        "on 2027-10-31 the clocks of Europe/Berlin show 02:00 to 03:00 twice: it runs at 02:00 both times",
    ]
    for quiet in ("30 3 * * *", "*/5 * * * *", "0 * * * *"):
        assert gaps_and_folds(schedule(quiet, "Europe/Berlin"), now, 366 * DAY) == ()


def test_times_are_said_in_words() -> None:
    assert in_words(schedule("30 3 * * *", "Europe/Berlin")) == "at 03:30 every day (Europe/Berlin)"
    assert in_words(Schedule(app="shop", name="sync", command=("sync",), every_s=600.0)) == "every 10m"


def test_a_host_without_schedules_loads_neither_cronsim_nor_zones() -> None:
    code = "import sys, reconciler.planning.schedules.plan_schedules; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert {"cronsim", "zoneinfo"} & set(done.stdout.split()) == set()
