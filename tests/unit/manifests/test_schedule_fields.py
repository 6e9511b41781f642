"""Schedules of manifests: what reaches the app, and what is wrong with one, at its place and in its words."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.inspection.changed_nights import nights
from reconciler.inspection.schedule_times import facts, lines
from reconciler.manifests.app_document import HostDefaults
from reconciler.manifests.parse_file import parse
from reconciler.planning.schedules.schedule import Ping, Retries, Schedule

HOST = HostDefaults(zone="Europe/Vienna")
NOW = 1795000000.0


def parsed(field: str) -> Any:
    return parse("/m/shop.yaml", f"path: app\nschedules:\n{field}\n".encode(), HOST)


def schedule(fields: str) -> Schedule:
    found = parsed(f"  cleanup: {{{fields}}}")
    assert found.problems == ()
    (only,) = found.apps[0].unleased.schedules
    assert isinstance(only, Schedule)
    return only


def test_a_schedule_is_a_command_and_its_times() -> None:
    assert schedule('command: python manage.py clear "a b", at: "30  3 * * *"') == Schedule(
        app="shop",
        name="cleanup",
        command=("python", "manage.py", "clear", "a b"),
        at="30 3 * * *",
        zone="Europe/Vienna",
    )
    for line, words in {
        "exec python sync.py": ("python", "sync.py"),
        "LEVEL=info A= python sync.py": ("env", "LEVEL=info", "A=", "python", "sync.py"),
        "sh -c 'sync $URL'": ("sh", "-c", "sync $URL"),
        "sync \\$URL": ("sync", "$URL"),
    }.items():
        assert schedule(f"command: {line}, every: 1h").command == words
    filled = schedule('command: "LEVEL=$L sync ${URL}", every: 1h')
    assert (filled.command, filled.expands) == (("env", "LEVEL=$L", "sync", "${URL}"), True)
    assert not schedule("command: [sync, $URL], every: 1h").expands
    assert schedule("command: [python, '3.10'], every: 10m") == Schedule(
        app="shop", name="cleanup", command=("python", "3.10"), every_s=600.0
    )


@pytest.mark.parametrize(
    ("written", "field", "value"),
    [
        ("zone: Asia/Tokyo", "zone", "Asia/Tokyo"),
        ("timeout: 8m", "timeout_s", 480.0),
        ("overlap: replace", "overlap", "replace"),
        ("missed: all", "missed", "all"),
        ("within: 2h", "within_s", 7200.0),
        ("spread: 10m", "spread_s", 600.0),
        ("paused: true", "paused", True),
        ("keep: 100", "keep", 100),
        ("retries: {count: 3}", "retries", Retries(count=3)),
        ("retries: {count: 3, cap: 10s}", "retries", Retries(count=3, first_s=10.0, cap_s=10.0)),
        ("retries: {count: 3, first: 1h}", "retries", Retries(count=3, first_s=3600.0, cap_s=3600.0)),
        ("ping: {ok: {file: secrets/p}}", "ping", Ping(ok="/m/secrets/p")),
        ("env: {REGION: eu, PORT: 3.10}", "env", {"REGION": "eu", "PORT": "3.10"}),
        ("env: {KEY: {file: ../s/k}}", "env_files", {"KEY": "/m/../s/k"}),
    ],
)
def test_each_field_of_a_schedule_reaches_the_app(written: str, field: str, value: object) -> None:
    found = schedule(f"command: x, at: '@daily', {written}")
    expected = schedule("command: x, at: '@daily'")
    assert found == replace(expected, **{field: value})  # type: ignore[arg-type]  # any of the fields


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ('command: x, at: "30 25 * * *"', '3:29: schedules.cleanup.at: "30 25 * * *": bad hour, expected 0 to 23'),
        ('command: x, at: "0 0 30 2 *"', '3:29: schedules.cleanup.at: "0 0 30 2 *" never comes'),
        (
            "command: x, at: '@daily', zone: Europe/Berln",
            '3:45: schedules.cleanup.zone: there is no time zone "Europe/Berln"; Europe/Berlin?',
        ),
        ("command: x, every: 1s", "3:32: schedules.cleanup.every: must be at least 10s"),
        ("command: x, every: 0", "3:32: schedules.cleanup.every: must be positive"),
        ("command: x, every: 1h, at: '@daily'", "3:25: schedules.cleanup.every: stands in place of 'at': leave one"),
        ("command: x", "3:12: schedules.cleanup.at: is required, or 'every' in its place"),
        ("every: 1h", "3:12: schedules.cleanup.command: is required"),
        ("command: x, every: 1h, spread: 1m", "3:44: schedules.cleanup.spread: requires 'at': 'every' counts"),
        ("command: 'x | y', every: 1h", "3:22: schedules.cleanup.command: needs a shell, for '|'"),
        ('command: "x \'y", every: 1h', "3:22: schedules.cleanup.command: a quotation has no end"),
        ("command: ' ', every: 1h", "3:22: schedules.cleanup.command: names no program"),
        ("command: A=1, every: 1h", "3:22: schedules.cleanup.command: names no program"),
        ("command: exec, every: 1h", "3:22: schedules.cleanup.command: names no program"),
        ("command: [''], every: 1h", "3:22: schedules.cleanup.command: names no program"),
        ("command: sync $(nproc), every: 1h", "3:22: schedules.cleanup.command: needs a shell, for '$('"),
        ("command: x, every: 1h, retries: {first: 1h, cap: 1m}", "3:53: schedules.cleanup.retries.first: is longer"),
        ("command: x, every: 1h, overlaps: skip", "3:36: schedules.cleanup.overlaps: unknown field"),
        ("command: x, every: 1h, env: {VCAP_X: y}", "3:50: schedules.cleanup.env.VCAP_X: names that start with VCAP_"),
        ("command: x, every: 1h, env: {A: {file: 3}}", "3:52: schedules.cleanup.env.A.file: expected a path"),
        ("command: x, every: 1h, ping: {ok: https://a}", "3:47: schedules.cleanup.ping.ok: expected {file: PATH}"),
    ],
)  # fmt: skip
def test_each_mistake_of_a_schedule_has_its_place_and_its_words(written: str, message: str) -> None:
    told = "\n".join(map(str, parsed(f"  cleanup: {{{written}}}").problems))
    assert f"/m/shop.yaml:{message}" in told


@given(st.text(max_size=30), st.text(max_size=20), st.text(max_size=20))
def test_no_text_makes_a_schedule_fail_to_parse(at: str, zone: str, command: str) -> None:
    quoted = [f'"{"".join(f"{chr(92)}U{ord(each):08X}" for each in text)}"' for text in (at, zone, command)]
    parsed("  cleanup: {{at: {}, zone: {}, command: {}}}".format(*quoted))


def test_an_app_without_schedules_is_what_it_was() -> None:
    (app,) = parse("/m/shop.yaml", b"path: app\n", HOST).apps
    assert app.unleased.schedules == ()
    (other,) = parse("/m/shop.yaml", b"path: app\nschedules: {a: {command: x, every: 1h}}\n", HOST).apps
    assert other.unleased.fingerprint != app.unleased.fingerprint
    assert other.app(8000).revision("c").id == app.app(8000).revision("c").id  # nothing is restarted


def test_the_next_times_are_told_in_both_zones() -> None:
    asked = [schedule("command: x, at: '@daily', zone: Asia/Tokyo"), schedule("command: x, every: 1h")]
    first, *five, last = lines(asked, NOW)
    assert first == "schedule cleanup: at 00:00 every day (Asia/Tokyo)"
    assert len(five) == 5
    assert five[0].startswith("  Thu 2026-11-19 00:00 Asia/Tokyo, ")
    assert five[0].endswith(" on this host")
    assert last == "schedule cleanup: every 1h, counted from its last start"
    told = facts(asked, NOW)
    assert isinstance(told, list)
    assert [len(each["next"]) for each in told if isinstance(each, dict) and isinstance(each["next"], list)] == [5, 0]


def test_the_next_gap_and_the_next_fold_are_warned_of_once_each() -> None:
    asked = [schedule('command: x, at: "30 2 * * *"'), schedule('command: x, at: "30 3 * * *"')]
    assert [place for place, _ in nights(asked, NOW)] == [("schedules", "cleanup", "at")] * 2
