"""The live screen without a terminal: what keys do, what is shown at which size, and that it is all just text."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.cli.live.cells import cell_count, chopped, clipped, padded
from reconciler.cli.live.columns import COLUMNS, rows_of
from reconciler.cli.live.facts import Details, Facts
from reconciler.cli.live.frame import frame
from reconciler.cli.live.keys import Keys
from reconciler.cli.live.line import Line, painted, paragraph, shortened, text_of
from reconciler.cli.live.log_screen import furthest_back
from reconciler.cli.live.plan_client import NO_DAEMON, plan_of
from reconciler.cli.live.selection import KEYS, SORTS, AppRequest, View, pressed
from reconciler.inspection.asked_by_operators import OverrideInEffect
from reconciler.inspection.status import AppRow, HostStatus, ServiceRow
from reconciler.metrics.rates import Rate
from tests.support.site import REPOSITORY

NAMES = ("api", "blog", "shop", "wiki")
_LOG_KEYS = "↑↓ PgUp PgDn scroll  End follow  Tab next log  Esc back  ? help  q quit"
_CAPTURE = re.compile(r"<!-- capture: (\d+)x(\d+)[^>]*-->\n\n?```text\n(.*?)\n```", re.DOTALL)


def app(name: str, state: str = "running", message: str = "", **fields: Any) -> AppRow:
    told = {
        "name": name, "state": state, "message": message, "url": "http://127.0.0.1:8004/", "port": 8004,
        "revision": "20e8c763a7df", "wanted_revision": "20e8c763a7df", "runtime": "python3.13.0", "pid": 4468,
        "workers": 2, "restarts": 0, "since": 900.0, "next_try_at": None, "services": [], "manifest": f"/m/{name}.yaml",
    }  # fmt: skip
    return AppRow(**{**told, **fields})


def rate(**fields: Any) -> Rate:
    told = {
        "requests": 0.0, "errors": 0.0, "client_errors": 0.0, "p50_s": None, "p95_s": None, "in_flight": 0, "busy": 0,
        "workers": 2, "memory": 2**20, "cpu": 0.0,
    }  # fmt: skip
    return Rate(**{**told, **fields})


def facts(*apps: AppRow, rates: dict[str, Rate] | None = None, **status: Any) -> Facts:
    return Facts(status=HostStatus(**{"daemon": 7, "apps": apps, **status}), at=1000.0, rates=rates or {})


HOST = facts(
    app("api", restarts=3),
    app("blog", "failing", "no database", next_try_at=1004.0, revision=None, pid=None, workers=0),
    app("shop", "sleeping", pid=None, workers=0),
    app("wiki", "degraded", "revision 1 failed", wanted_revision="111111111111"),
    rates={"api": rate(requests=1.5, memory=30 * 2**20), "wiki": rate(requests=12.0, memory=20 * 2**20)},
)


def after(*keys: str, view: View | None = None, names: tuple[str, ...] = NAMES) -> View:
    view = View() if view is None else view
    for key in keys:
        view = pressed(view, key, names, 3)
    return view


def shown(view: View, columns: int = 80, rows: int = 24, details: Details | None = None, of: Facts = HOST) -> list[str]:
    return [text_of(line).rstrip() for line in frame(of, details, view, columns, rows)]


def names_shown(view: View) -> list[str]:
    return [row.name for row in rows_of(HOST, view)]


# Keys


def test_what_a_terminal_sends_is_told_as_keys() -> None:
    assert Keys().feed(b"j\x1b[A\x1bOB\r\t\x7fG/\x1b[5~\x1b[1;5C") == [
        "j", "up", "down", "enter", "tab", "backspace", "G", "/", "page up",
    ]  # fmt: skip


def test_a_key_that_comes_in_pieces_is_one_key() -> None:
    keys = Keys()
    assert keys.feed(b"\x1b") == []
    assert keys.feed(b"[") == []
    assert keys.waiting
    assert keys.feed(b"B") == ["down"]
    assert [*keys.feed("é".encode()[:1]), *keys.feed("é".encode()[1:])] == ["é"]


def test_esc_that_nothing_follows_is_esc() -> None:
    keys = Keys()
    assert keys.feed(b"\x1b") == []
    assert keys.flush() == ["esc"]
    assert not keys.waiting


@given(st.lists(st.binary(max_size=6)))
def test_no_bytes_make_a_key_that_could_draw(pieces: list[bytes]) -> None:
    keys = Keys()
    for piece in pieces:
        assert all(key.isprintable() for key in keys.feed(piece))
    assert all(key.isprintable() for key in keys.flush())


# A key changes what is chosen


def test_arrows_select_and_stop_at_both_ends() -> None:
    assert [after(*keys).selected for keys in (["down"], ["j", "j", "k"], ["up"], ["end", "down"], ["page down"])] == [
        "blog", "blog", "api", "wiki", "wiki",
    ]  # fmt: skip
    assert after("down", names=()).selected is None


def test_who_is_selected_stays_so_when_the_order_changes() -> None:
    chosen = after("down", "o")
    assert pressed(chosen, "down", ("blog", "api"), 3).selected == "api"


def test_o_goes_round_all_columns_and_capital_o_turns_the_order() -> None:
    assert after(*"o" * len(SORTS)).sort == View().sort
    assert after("o", "O").reverse
    assert not after("o", "O", "o").reverse
    assert {column.name for column in COLUMNS}.issuperset(SORTS)


def test_a_filter_is_written_kept_and_dropped() -> None:
    assert after("/", "q", "d", "backspace").filter == "q"
    assert after("/", "q", "enter") == View(filter="q")
    assert after("/", "q", "esc") == View()
    assert after("/", "q", "enter", "esc") == View()
    assert after("/", "ctrl-u", "backspace") == View()


def test_enter_and_d_open_and_close_the_details_where_tab_changes_the_log() -> None:
    assert after("enter", "d") == after("tab") == View()
    assert [after("d", *["tab"] * times).log for times in range(4)] == ["app", "access", "staging", "app"]


def test_r_and_capital_s_make_a_request_and_s_asks_first() -> None:
    assert after("down", "r").request == AppRequest(do="restart", app="blog")
    assert after("S").request == AppRequest(do="start", app="api")
    asked = after("down", "s")
    assert (asked.question, asked.request) == (AppRequest(do="stop", app="blog"), None)
    assert after("y", view=asked).request == AppRequest(do="stop", app="blog")
    for key in ("n", "esc", "enter", "s", "down", "q"):
        declined = after(key, view=asked)
        assert (declined.question, declined.request, declined.done) == (None, None, False)
    assert after("r", "s", "S", names=()) == View()
    assert after("/", "r", "s").request is None


def test_the_logs_open_on_the_whole_screen_scroll_and_close() -> None:
    assert after("l").logs
    assert after("l", "up", "k", "page up", "down").back == 4
    assert after("l", "up", "end").back == after("l", "down").back == 0
    assert after("l", "up", "tab") == View(logs=True, log="access")
    assert after("l", "up", "l") == after("l", "up", "esc") == View()
    assert after("d", "l", "esc") == View(details=True)
    assert after("l", "/", "d") == View(logs=True)
    assert after("l", "down").selected is None, "arrows scroll, and select no other app"


@pytest.mark.parametrize("keys", [["q"], ["esc"], ["ctrl-c"], ["/", "x", "ctrl-c"], ["d", "esc", "esc"], ["?", "q"]])
def test_it_is_quit(keys: list[str]) -> None:
    assert after(*keys).done


@pytest.mark.parametrize(
    "keys", [["d", "esc"], ["?", "esc"], ["?", "?"], ["/", "q"], ["x"], ["/", "x", "enter", "esc"]]
)
def test_it_is_not_quit_by_closing_what_is_open(keys: list[str]) -> None:
    assert not after(*keys).done


# Which apps, in which order


def test_what_is_wrong_stands_first() -> None:
    assert names_shown(View()) == ["blog", "wiki", "api", "shop"]
    assert names_shown(View(reverse=True)) == ["shop", "api", "wiki", "blog"]


def test_the_busiest_stand_first_and_what_is_not_known_last_whichever_way_round() -> None:
    assert names_shown(View(sort="REQ/S")) == ["wiki", "api", "blog", "shop"]
    assert names_shown(View(sort="REQ/S", reverse=True)) == ["api", "wiki", "blog", "shop"]
    assert names_shown(View(sort="RESTARTS"))[0] == "api"
    assert names_shown(View(sort="NEXT TRY"))[0] == "blog"


@pytest.mark.parametrize("sort", SORTS)
def test_every_order_shows_every_app(sort: str) -> None:
    assert sorted(names_shown(View(sort=sort))) == sorted(names_shown(View(sort=sort, reverse=True))) == [*NAMES]


def test_a_filter_finds_names_states_and_messages() -> None:
    found = [names_shown(View(filter=sought)) for sought in ("SHOP", "fail", "database", "xyz")]
    assert found == [["shop"], ["blog", "wiki"], ["blog"], []]
    assert "no app matches the filter" in shown(View(filter="xyz"))


# What is on the screen


def test_a_log_is_wrapped_scrolled_and_says_where_it_stands() -> None:
    lines = [f"line {number} {'x' * (number == 7) * 100}" for number in range(100)]
    log = Details(name="blog", log="app", lines=lines)
    view = View(selected="blog", logs=True)
    told = shown(view, details=log)
    assert told[0].startswith("── blog  [app]  access  staging  following ──")
    assert told[-2:] == ["line 99", _LOG_KEYS]
    assert furthest_back(log, 80, 23) == 101 - 22
    back = shown(replace(view, back=10), details=log)
    assert "paused, 10 more below" in back[0]
    assert back[-2] == "line 89"
    oldest = shown(replace(view, back=10**9), details=log)
    assert oldest[1] == "line 0"
    assert [line for line in oldest if set(line) == {"x"}] == ["x" * 27], "the end of a long line is on the next"
    assert "the log is empty" in shown(view, details=replace(log, lines=()))
    assert "loading …" in shown(view, details=replace(log, name="api"))
    assert "loading …" in shown(view)


def test_a_question_and_what_became_of_a_request_stand_at_the_foot() -> None:
    asked = shown(after("down", "s", view=View(selected="api")))[-1]
    assert asked == "Stop blog until 'start' or its next edit?   y: yes, any other key: no"
    assert shown(View(notice="blog: restarting"))[-1] == "blog: restarting"
    assert after("down", view=View(notice="blog: restarting")).notice == ""


@pytest.mark.parametrize(
    ("text", "width", "expected"),
    [
        ("no database", 20, "no database"),
        ("cannot read /srv/ops/manifests/feed2.yaml: gone", 40, "cannot read …/feed2.yaml: gone"),
        ("see http://127.0.0.1:8000/a/b/c of the app, now", 40, "see http://12…8000/a/b/c of the app, now"),
        ("failed 3 times: RuntimeError: cannot reach 10.0.0.7", 30, "failed 3 t…nnot reach 10.0.0.7"),
        ("failed 3 times: no database; more in 'reconciler logs blog'; retry now", 30, "failed 3 times: no database"),
        ("日本語" * 10, 9, "日…日本語"),
        ("abc", 2, "…c"),
        ("abc", 0, ""),
    ],
)
def test_what_must_be_cut_keeps_its_end(text: str, width: int, expected: str) -> None:
    told = shortened(text, width)
    assert cell_count(told) <= width
    assert told == expected


def test_a_note_on_a_tall_screen_is_told_in_full() -> None:
    message = "expected a number of workers between 1 and 1000, or auto, not the word 'many'"
    refused = [{"file": "/m/x.yaml", "errors": [{"line": 3, "column": 1, "path": "", "message": message}]}]
    told = shown(View(), of=facts(app("a"), manifests=refused))
    assert f"refused: x.yaml:3:1: {message}" in " ".join(told[1:3])
    assert told[0].startswith("daemon 7  ·  1 app: 1 running")


def test_a_narrow_screen_has_what_matters_and_a_wide_one_has_everything() -> None:
    assert {"APP", "STATE", "MEMORY", "CPU", "REQ/S", "MESSAGE"} <= set(shown(View())[1].split())
    wide = shown(View(), 200, 50)
    assert [column.name for column in COLUMNS] == [name for name in re.split(r" ▼|  +", wide[1]) if name]
    assert "▸ blog" in wide[2]
    assert "no database" in wide[2]
    assert "30.0M" in next(line for line in wide if " api " in line)


def test_more_apps_than_rows_scroll_with_the_selected_one_in_sight() -> None:
    many = facts(*(app(f"app{number:03}") for number in range(200)))
    told = shown(View(selected="app150"), of=many)
    assert len(told) == 24
    assert any(line.startswith("▸ app150") for line in told)


def test_the_details_tell_plan_events_log_and_all_of_the_message() -> None:
    known = Details(name="blog", log="access", events=["died early"], lines=["GET /"], plan=["start — it must run"])
    told = " ".join(" ".join(shown(View(selected="blog", details=True, log="access"), details=known)).split())
    for said_there in ("next try in 4s", "start — it must run", "died early", "GET /", "app [access] staging"):
        assert said_there in told


def test_details_of_another_app_are_not_shown_as_those_of_the_selected_one() -> None:
    other = Details(name="api", log="app", lines=["of the other"])
    told = "\n".join(shown(View(selected="blog", details=True), details=other))
    assert "of the other" not in told
    assert "loading …" in told


def test_the_keys_are_shown_in_full_and_the_services_where_there_is_room() -> None:
    ready = facts(app("a"), services=[ServiceRow(name="db", state="ready")])
    assert shown(View(), of=ready)[-1].endswith("q quit")
    assert shown(View(), 120, of=ready)[-1].endswith("1 service, ready")
    assert all("…" not in line and cell_count(line) <= 80 for line in shown(View(help=True)))


def test_the_details_say_what_an_operator_requested() -> None:
    held = facts(app("blog", override=OverrideInEffect(kind="rolled back", revision="111111111111")))
    assert "rolled back by an operator" in " ".join(shown(View(details=True), 200, of=held))


def test_what_is_wrong_with_the_host_is_said() -> None:
    refused = [{"file": "/m/x.yaml", "errors": [{"line": 3, "column": 1, "path": "", "message": "unknown key"}]}]
    services = [ServiceRow(name="db", state="failing", message="refused the password")]
    told = shown(View(), of=facts(app("a"), manifests=refused, services=services, daemon=None))
    assert "refused: x.yaml:3:1: unknown key" in told
    assert "service db: failing: refused the password" in told
    assert any(line.startswith("no daemon is running") for line in told)
    assert "not up to date: locked" in "\n".join(shown(View(), of=replace(HOST, failure="not up to date: locked")))


def test_every_key_is_in_the_help_on_the_screen_and_in_the_documentation() -> None:
    help_shown = "\n".join(shown(View(help=True), 120))
    documented = (REPOSITORY / "docs" / "reference" / "terminal.md").read_text(encoding="utf-8")
    for keys, what in KEYS:
        assert f"{keys:<20}{what}" in help_shown
        assert f"| {keys} | {what} |" in documented


_HOSTILE = st.text(st.sampled_from("a 日é\x1b\x07\x9b\r\n\t\u202e\u0301👩[;H"), max_size=60)


@given(
    st.builds(app, _HOSTILE, st.sampled_from(["running", "failing", "odd"]), _HOSTILE, url=_HOSTILE, runtime=_HOSTILE),
    st.builds(Details, name=_HOSTILE, log=st.just("app"), lines=st.lists(_HOSTILE), plan=st.lists(_HOSTILE)),
    st.builds(
        View,
        details=st.booleans(),
        help=st.booleans(),
        typing=st.booleans(),
        filter=st.sampled_from(["", "a"]),
        logs=st.booleans(),
        back=st.integers(0, 50),
        notice=_HOSTILE,
        question=st.none() | st.builds(AppRequest, do=st.just("stop"), app=_HOSTILE),
    ),
    st.integers(1, 220),
    st.integers(1, 60),
)
def test_whatever_apps_say_every_line_fits_and_nothing_controls_the_terminal(
    row: AppRow, details: Details, view: View, columns: int, rows: int
) -> None:
    drawn = frame(facts(row, app("b"), notice=row.message), replace(details, name=row.name), view, columns, rows)
    assert len(drawn) <= rows
    for line in drawn:
        assert cell_count(text_of(line)) <= columns
        assert not re.search(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e]", text_of(line))


@pytest.mark.parametrize("width", [1, 3, 40])
def test_a_name_is_made_printable_before_it_is_cut(width: int) -> None:
    hostile = facts(app("\x1b[31m", "failing", "\x1b]0;no database" * 20))
    drawn = "".join(text_of(line) for line in frame(hostile, None, View(filter="\x1b"), width, 24))
    assert "\x1b" not in drawn
    assert "\\x1b"[:width] in drawn


@given(st.text(st.sampled_from("ab日é\u0301👩\u200d"), max_size=30), st.integers(1, 20))
def test_text_is_cut_between_characters_by_the_cells_they_take(text: str, width: int) -> None:
    assert "".join(chopped(text, width)) == text
    assert all(cell_count(piece) <= max(width, 2) for piece in chopped(text, width))
    assert text.startswith(clipped(text, width))
    assert cell_count(clipped(text, width)) <= width
    assert cell_count(padded(text, width)) == width


def test_a_wide_character_takes_two_cells_and_a_combining_mark_none() -> None:
    assert [cell_count(text) for text in ("abc", "日本", "e\u0301", "👩", "")] == [3, 4, 1, 2, 0]


def test_a_long_text_is_broken_between_words_and_ends_with_an_ellipsis() -> None:
    assert [text_of(line) for line in paragraph("one two three four", 9, most=2)] == ["one two", "three…"]
    assert [text_of(line) for line in paragraph("unbreakable", 4, most=5)] == ["unbr", "eaka", "ble"]


def test_without_a_terminal_or_with_no_color_nothing_is_coloured() -> None:
    line: Line = [("failing", "failing"), (" x", "chosen")]
    assert painted(line) == "failing x"


def test_without_a_daemon_there_is_no_plan(tmp_path: Path) -> None:
    assert plan_of(tmp_path / "api.sock", "blog") == [NO_DAEMON]


def test_status_and_help_do_not_pay_for_the_live_screen() -> None:
    told = subprocess.run(
        [sys.executable, "-c", "import sys, reconciler.cli.main, reconciler.cli.status; print(*sys.modules)"],
        check=True, capture_output=True, text=True, timeout=60,
    ).stdout.split()  # fmt: skip
    assert "reconciler.cli.status" in told
    assert not [name for name in told if name.startswith(("termios", "unicodedata", "reconciler.cli.live"))]


def test_the_captures_in_the_documentation_are_of_the_size_they_claim() -> None:
    text = (REPOSITORY / "docs" / "reference" / "terminal.md").read_text(encoding="utf-8")
    found = [(int(columns), int(rows), told.splitlines()) for columns, rows, told in _CAPTURE.findall(text)]
    assert {(columns, rows) for columns, rows, _ in found} == {(80, 24), (200, 50)}
    for columns, rows, told in found:
        assert len(told) == rows
        assert max(map(cell_count, told)) <= columns
        assert "? help  q quit" in told[-1]


def test_a_canary_stands_with_its_part_of_new_connections() -> None:
    of = facts(app("shop", "canary", wanted_revision="111111111111", canary_share=0.25), app("wiki"))
    assert any(re.search(r"shop +canary 25%", line) for line in shown(View(), of=of))
    assert any("canary 25%" in line for line in shown(View(details=True, selected="shop"), of=of, columns=120))
    assert [row.name for row in rows_of(of, View(filter="canary"))] == ["shop"]
