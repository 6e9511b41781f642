"""`status --watch` and `top` in a real terminal, before real apps: keys, sizes, signals, a terminal left as it was."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence

import pytest

from tests.support.eventually import eventually
from tests.support.pseudo_terminal import LEAVE, PseudoTerminal
from tests.support.site import REPOSITORY, Site, get
from tests.support.store import Store

_HOSTILE = "\x1b]0;pwned\x07\x1b[2J\u202egnp.exe"
_FAILS = f"raise RuntimeError({_HOSTILE!r})\n\ndef application(environ, start_response): ...\n"


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory, store: Store) -> Iterator[Site]:
    """A daemon with an app that serves, one that fails with words that would draw, and one under maintenance."""
    site = Site.at(tmp_path_factory.mktemp("site"), store)
    try:
        port = site.app("blog")
        site.app("wiki", state="maintenance")
        site.app("crashy")
        site.save(site.root / "apps" / "crashy" / "wsgi.py", _FAILS)
        site.start()
        site.await_settled("blog")
        eventually(lambda: site.told("crashy")["state"] == "failing")
        eventually(lambda: site.told("wiki")["state"] == "maintenance")
        assert get(port) == "1"
        yield site
    finally:
        site.close()


@pytest.fixture
def opened() -> Iterator["Opener"]:
    opener = Opener()
    try:
        yield opener
    finally:
        for terminal in opener.terminals:
            terminal.close()


class Opener:
    """Opens terminals that are closed when the test is over."""

    def __init__(self) -> None:
        self.terminals: list[PseudoTerminal] = []

    def __call__(self, command: Sequence[str], columns: int = 80, rows: int = 24, **env: str) -> PseudoTerminal:
        self.terminals.append(PseudoTerminal(command, columns, rows, **env))
        return self.terminals[-1]


def test_keys_select_sort_filter_and_open_the_details(host: Site, opened: Opener) -> None:
    terminal = opened(host.command("status", "--watch"))
    screen = terminal.await_shown("▸ crashy", "blog")
    assert screen.index("crashy") < screen.index("blog")
    terminal.type("o")
    terminal.await_shown("▸ crashy")
    terminal.await_shown("APP ▼")
    terminal.type("\x1b[B")
    terminal.await_shown("▸ wiki")
    terminal.type("?")
    terminal.await_shown("reverse the order")
    terminal.type("?/blo\r")
    terminal.await_shown("▸ blog", without="wiki")
    terminal.type("\r")
    terminal.await_shown("nothing to do: up to date")
    terminal.await_shown("gunicorn")
    terminal.type("\t")
    terminal.await_shown("app  [access]  staging")
    terminal.await_shown('"GET / HTTP')
    terminal.type("q")
    assert terminal.await_end() == 0
    eventually(lambda: terminal.restored)  # what it sent last has been read by then
    assert re.search(r"\x1b\[[\d;]*m", terminal.sent)  # in colours


def test_an_app_is_restarted_stopped_and_started_by_key(host: Site, opened: Opener) -> None:
    terminal = opened(host.command("status", "--watch"))
    terminal.await_shown("▸ crashy")
    terminal.type("/blog\r")
    terminal.await_shown("▸ blog")
    before = host.told("blog")["pid"]
    terminal.type("r")
    terminal.await_shown("blog: restarting; the current instance serves")
    eventually(lambda: host.told("blog")["pid"] not in {None, before})
    host.await_settled("blog")
    terminal.type("s")
    terminal.await_shown("Stop blog until 'start' or its next edit?")
    terminal.type("n")
    terminal.await_shown("r restart")
    assert host.told("blog")["state"] == "running"
    terminal.type("sy")
    terminal.await_shown("stopped until its manifest changes")
    eventually(lambda: host.told("blog")["state"] == "stopped")
    terminal.type("S")
    terminal.await_shown("resumed; its manifest applies again")
    host.await_settled("blog")
    eventually(lambda: host.told("blog")["state"] == "running")


def test_the_logs_fill_the_screen_and_scroll(host: Site, opened: Opener) -> None:
    log = host.paths.log("blog", "staging")
    before = log.read_bytes()
    try:
        with log.open("a") as file:
            file.writelines(f"line {number}\n" for number in range(100))
        terminal = opened(host.command("status", "blog", "--watch"))
        terminal.await_shown("nothing to do: up to date")
        terminal.type("l\t\t")
        terminal.await_shown("[staging]  following", "line 99")
        terminal.type("\x1b[5~")
        terminal.await_shown("paused, 21 more below", without="line 99")
        with log.open("a") as file:
            file.write("a later line\n")
        terminal.type("k")
        terminal.await_shown("paused, 22 more below", "line 77")
        terminal.type("\x1b[F")
        terminal.await_shown("a later line")
        terminal.type("\x1b")
        terminal.await_shown("nothing to do: up to date")
    finally:
        log.write_bytes(before)


def test_what_an_app_says_is_text_on_the_screen(host: Site, opened: Opener) -> None:
    terminal = opened(host.command("status", "crashy", "--watch"), 200, 50)
    terminal.await_shown("]0;pwned")
    terminal.await_shown("RuntimeError")
    terminal.type("q")
    assert terminal.await_end() == 0
    assert "\x1b]" not in terminal.sent
    assert "\x07" not in terminal.sent
    assert "\u202e" not in terminal.sent


def test_it_follows_the_window(host: Site, opened: Opener) -> None:
    terminal = opened(host.command("status", "--watch"), 200, 50)
    terminal.await_shown("▸ crashy")
    eventually(lambda: len(terminal.screen.splitlines()) == 50)
    terminal.resize(60, 10)
    eventually(lambda: max(map(len, terminal.screen.splitlines()[:10])) <= 60)
    terminal.resize(200, 50)
    terminal.await_shown("RUNTIME")


@pytest.mark.parametrize(
    ("words", "keys"),
    [(("status", "--watch"), "\x1b"), (("status", "--watch"), "\x03"), (("top",), "q"), (("top",), "\x03")],
    ids=["status-esc", "status-ctrl-c", "top-q", "top-ctrl-c"],
)
def test_the_terminal_is_as_it_was_after_it_is_quit(
    host: Site, opened: Opener, words: tuple[str, ...], keys: str
) -> None:
    terminal = opened(host.command(*words))
    terminal.await_shown("blog")
    assert not terminal.restored
    terminal.type(keys)
    assert terminal.await_end() == 0
    eventually(lambda: terminal.restored)  # what it sent last has been read by then


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_the_terminal_is_as_it_was_after_a_signal(host: Site, opened: Opener, number: signal.Signals) -> None:
    terminal = opened(host.command("status", "--watch"))
    terminal.await_shown("blog")
    os.kill(terminal.program.pid, number)
    assert terminal.await_end() == 128 + number
    eventually(lambda: terminal.restored)  # what it sent last has been read by then


def test_the_terminal_is_as_it_was_after_an_error(opened: Opener) -> None:
    program = (
        "from reconciler.cli.live.terminal import Terminal\n"
        "with Terminal() as it: it.draw(['x']); raise RuntimeError('no')"
    )
    terminal = opened([sys.executable, "-c", program])
    assert terminal.await_end() == 1
    eventually(lambda: terminal.restored)  # what it sent last has been read by then
    eventually(lambda: "RuntimeError: no" in terminal.sent)


def test_suspended_it_gives_the_terminal_back_and_takes_it_again(host: Site, opened: Opener) -> None:
    terminal = opened(["sh", "-i"], ENV="/dev/null", PS1="ready> ")
    eventually(lambda: "ready> " in terminal.sent)
    command = " ".join(host.command("status", "--watch"))
    terminal.type(f"{command}\n")
    terminal.await_shown("▸ crashy")
    terminal.type("\x1a")
    eventually(lambda: "Stopped" in terminal.sent)
    assert terminal.screen == ""
    assert terminal.sent.count("\x1b[?1049h") == 1
    terminal.type("fg\n")
    terminal.await_shown("▸ crashy")
    terminal.type("q")
    eventually(lambda: terminal.screen == "" and "ready> " in terminal.sent.rpartition(LEAVE)[2])
    terminal.type("exit\n")
    assert terminal.await_end() == 0


def test_with_no_color_nothing_is_coloured(host: Site, opened: Opener) -> None:
    plain = opened(host.command("status", "--watch"), NO_COLOR="1")
    plain.await_shown("▸ crashy")
    assert not re.search(r"\x1b\[[\d;]*m", plain.sent)


def test_in_a_pipe_it_is_a_plain_table(host: Site) -> None:
    with subprocess.Popen(
        host.command("status", "--watch"), stdout=subprocess.PIPE, text=True, cwd=REPOSITORY
    ) as program:
        try:
            assert program.stdout is not None
            told = [program.stdout.readline() for _ in range(4)]
        finally:
            program.kill()
    assert told[0].split()[:2] == ["APP", "STATE"]
    assert "\x1b" not in "".join(told)


def test_it_works_without_a_daemon(site: Site, opened: Opener) -> None:
    site.app("blog")
    daemon = site.live()
    site.await_settled("blog")
    site.end(daemon)
    terminal = opened(site.command("status", "blog", "--watch"))
    terminal.await_shown("no daemon is running; 'reconciler plan'")
    terminal.await_shown("▸ blog", "running")
