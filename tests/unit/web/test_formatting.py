"""What the page makes of texts: nothing that cannot be seen, no secret, and a picture of what happened."""

import json
import subprocess
from dataclasses import replace

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from reconciler.inspection.printable import json_text, quoted, visible
from reconciler.planning.reason import Reason
from reconciler.planning.subject import Subject
from reconciler.state.journal import Event
from reconciler.web.formatting import line, percent, size, url
from reconciler.web.manifest_masking import masked
from reconciler.web.timeline import WIDTH, sparkline, timeline


@given(st.text() | st.text(alphabet="\x00\x1b\n\t\r\u202e\u2066\u2028\u200b\ud800\U000e0041a"))
def test_nothing_shown_moves_a_cursor_turns_a_line_or_hides(text: str) -> None:
    told = visible(text)
    assert not set(told) & set("\x00\x07\x08\r\x1b\x7f\x85\x9b\u061c\u200b\u200f\u2028\u202e\u2066\ufeff\ud800")
    assert not set(line(text)) & set("\n\t")
    as_json = json_text({"said": text}, indent=1)
    assert not set(as_json) & set("\x00\x1b\x7f\x9b\u200b\u200f\u2028\u202e\u2066\ud800")
    assert json.loads(as_json) == {"said": text}
    told.encode()  # a lone surrogate could not be sent at all


def test_ordinary_text_is_left_alone() -> None:
    text = "Grüße, שלום, 你好 👩‍💻\n\tnaïve <b> & co"
    assert visible(text) == text.replace("\u200d", "\u200d")
    assert visible("a\x1b[0m\u202e") == "a\\x1b[0m\\u202e"
    assert line("a\nb\tc") == "a \u21b5 b c"


def test_a_shell_reads_what_is_quoted_for_it_as_it_was() -> None:
    texts = [
        "",
        "plain",
        "a b's",
        "\x1b[2Jx",
        "\x07f",
        "it's \\x1b\x1b\\",
        "a\nb\r\n",
        "\u202egnp.exe\ufeff\x9b31m",
        "Grüße\t$HOME`id`\x7f",
    ]
    words = [quoted(text) for text in texts]
    assert all(visible(word) == word and "\n" not in word for word in words)
    read = subprocess.run(["bash", "-c", f"printf '%s\\0' {' '.join(words)}"], check=True, capture_output=True)
    assert read.stdout.decode().split("\0")[:-1] == texts
    assert (quoted("a b"), quoted("\x1b[2J\n")) == ("'a b'", "$'\\x1b[2J\\n'")


@pytest.mark.parametrize(
    "text",
    [
        "env: {API_KEY: hunter2, B: x}",
        "env:\n  DB_PASSWORD: hunter2\n  B: x",
        'env:\n  "SECRET_TOKEN": "hunter2"\n  B: x',
        "env:\n  PRIVATE_KEY: |\n    hunter2\n    hunter2\n  B: x",
        "env:\n  PRIVATE_KEY: >-\n    one\n\n    hunter2\n  B: x",
        "credentials:\n  host: hunter2\nenv: {B: x}",
        "credentials: {host: [hunter2, {port: hunter2}]}\nenv: {B: x}",
        "env: {B: x, URL: postgres://me:hunter2@db/x}",
        "a: &one hunter2\nenv: {B: x, PASSWORD: hunter2}\n".replace("&one hunter2", "1"),
        "env: {B: x}\n---\nenv: {PASSWORD: hunter2}",
        # These do not parse.
        "env:\n  API_KEY: hunter2\n  B: [x",
        "env:\n  API_KEY: |\n    hunter2\n  B: {x",
        "env: {B: x, API_KEY: hunter2",
        "env:\n  SECRET: [hunter2\n  B: x",
        "env:\n  SECRET: https://me:hunter2@x/ {\n B: [x",
    ],
)
def test_a_secret_is_hidden_and_lines_keep_their_numbers(text: str) -> None:
    told = masked(text)
    assert "hunter2" not in "\n".join(told)
    assert len(told) == len(text.splitlines())
    if "B: x" in "\n".join(told):
        return
    with pytest.raises(yaml.YAMLError):  # what does not parse may hide more
        yaml.safe_load(text)


def test_in_processes_command_lines_and_variables_are_masked_and_other_fields_shown() -> None:
    assert masked(
        "processes:\n"
        "  worker: python worker.py --password hunter2\n"
        "  beat: {count: 2, ready: notify, env: {A_PASSWORD: hunter2, LOG_LEVEL: debug}}\n"
    ) == [
        "processes:",
        "  worker: python worker.py --password •••",
        "  beat: {count: 2, ready: notify, env: {A_PASSWORD: •••, LOG_LEVEL: debug}}",
    ]


def test_the_name_of_a_secrets_file_is_no_secret() -> None:
    assert masked("env: {API_KEY: {file: secrets/api-key}}") == ["env: {API_KEY: {file: secrets/api-key}}"]


def _event(at: float, kind: str, text: str = "", cause: str = "", reason: str = "") -> Event:
    return Event(id=int(at), at=at, subject=Subject("app", "blog"), kind=kind, text=text, cause=cause, reason=reason)


def test_the_timeline_says_when_an_app_served_slept_and_was_down() -> None:
    told = [
        _event(0, "staged"), _event(100, "ready"), _event(300, "ready"), _event(301, "stopped"), _event(500, "exited"),
        _event(510, "failed"), _event(600, "ready"), _event(800, "sleeping"),
        _event(900, "request", "revision x serves", reason=Reason.ROLLED_BACK_BY_OPERATOR),
    ]  # fmt: skip
    picture = timeline(told, 1000)
    assert picture
    scale = (WIDTH - 16) / 1000
    assert [(s.phase, round((s.x - 8) / scale)) for s in picture.spans] == [
        ("serving", 100), ("down", 500), ("serving", 600), ("sleeping", 800),
    ]  # fmt: skip
    assert [m.kind for m in picture.marks] == [
        "staged", "deploy", "deploy", "crash", "failure", "deploy", "sleep", "rollback",
    ]  # fmt: skip
    assert sum(s.width for s in picture.spans) == pytest.approx(900 * scale, abs=2)


@pytest.mark.parametrize(
    ("told", "phases"),
    [
        pytest.param(
            [(0, "ready", ""), (100, "discarded", "surplus"), (300, "failed", "")], ["serving"],
            id="a candidate is withdrawn before it serves",
        ),
        pytest.param(
            [(0, "ready", ""), (100, "stopped", "surplus")], ["serving"], id="an earlier daemon withdrew a candidate"
        ),
        pytest.param(
            [(0, "ready", ""), (100, "ready", ""), (110, "stopped", "handing-over"), (200, "stopped", "idle")],
            ["serving", "stopped"], id="a hand-over, then a stop",
        ),
        pytest.param(
            [(0, "ready", "source-changed"), (10, "stopped", "handing-over")], ["serving"],
            id="the predecessor became ready before the first event",
        ),
        pytest.param(
            [(0, "ready", ""), (100, "ready", ""), (105, "exited", ""), (200, "exited", "")], ["serving", "down"],
            id="only the end of the last one ends the service",
        ),
        pytest.param(
            [(0, "ready", ""), (50, "adopted", ""), (60, "adopted", ""), (100, "exited", ""), (200, "exited", "")],
            ["serving", "down"], id="two are adopted",
        ),
        pytest.param(
            [(0, "ready", ""), (50, "adopted", ""), (100, "exited", "")], ["serving", "down"], id="one is adopted"
        ),
        pytest.param(
            [(0, "ready", ""), (50, "holding", "maintenance"), (60, "stopped", "maintenance"), (100, "ready", "")],
            ["serving", "maintenance", "serving"], id="maintenance is neither down nor stopped",
        ),
    ],
)  # fmt: skip
def test_only_the_end_of_the_last_serving_instance_ends_the_service(
    told: list[tuple[float, str, str]], phases: list[str]
) -> None:
    picture = timeline([_event(at, kind, reason=reason) for at, kind, reason in told], 1000)
    assert picture
    assert [span.phase for span in picture.spans] == phases


def test_a_crash_whose_text_contains_roll_is_no_rollback_and_a_fallback_is_one() -> None:
    crash = "it failed: ImportError: cannot import name 'PayrollController'"
    told = [_event(0, "ready", cause=crash), _event(500, "ready", cause=crash, reason=Reason.FALLEN_BACK)]
    picture = timeline(told, 1000)
    assert picture
    assert [m.kind for m in picture.marks] == ["deploy", "rollback"]


def test_what_happens_to_a_process_beside_the_web_changes_nothing_of_the_timeline() -> None:
    told = [
        _event(0, "ready"),
        *(replace(_event(500, kind), process="worker") for kind in ("ready", "exited", "stopped")),
    ]
    picture = timeline(told, 1000)
    assert picture
    assert ([span.phase for span in picture.spans], [mark.kind for mark in picture.marks]) == (["serving"], ["deploy"])


def test_a_hundred_failures_in_a_second_are_one_mark() -> None:
    picture = timeline([_event(1 + n / 100, "failed") for n in range(100)], 1000)
    assert picture
    assert [m.count for m in picture.marks] == [100]


@given(st.lists(st.tuples(st.floats(0, 2e9), st.sampled_from(["ready", "exited", "sleeping", "stopped", "failed"]))))
def test_every_picture_stays_in_its_frame(told: list[tuple[float, str]]) -> None:
    picture = timeline([_event(at, kind) for at, kind in sorted(told)], 1e9)
    for span in picture.spans if picture else ():
        assert 0 <= span.x <= WIDTH
        assert 0 < span.width <= WIDTH
    for mark in picture.marks if picture else ():
        assert 0 <= mark.x <= WIDTH


def test_numbers_are_said_shortly() -> None:
    assert [size(None), size(900), size(5 * 2**20), size(31.6 * 2**20), size(3 * 2**30)] == [
        "", "1 kB", "5.0 MB", "32 MB", "3.0 GB",
    ]  # fmt: skip
    assert [percent(None), percent(0.004), percent(0.5), percent(1.7)] == ["", "0.4%", "50%", "170%"]
    assert (sparkline([]), sparkline([1]), sparkline([0, 0])) == ("", "", "0.0,21.0 96.0,21.0")
    assert (url("javascript:alert(1)"), url("http://x/"), url(None)) == (None, "http://x/", None)
