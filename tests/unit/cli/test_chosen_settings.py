"""A command uses the manifests and the settings that the daemon recorded, unless an option names others."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from reconciler.cli.chosen_settings import UnusableSettings, settings_of, settings_to_start
from reconciler.cli.main import group
from reconciler.cli.options import host_options
from reconciler.state.daemon_record import DaemonRecord, record, recorded
from reconciler.state.paths import StatePaths
from reconciler.state.records import Records
from reconciler.state.schema import open_database
from tests.unit.state.test_running_daemons import held


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state directory in which a daemon for `m` has run, with the settings `host.yaml`."""
    (tmp_path / "m").mkdir()
    (tmp_path / "host.yaml").write_text("ports: {first: 9100, last: 9200}\n")
    used = DaemonRecord(manifests=tmp_path / "m", settings=tmp_path / "host.yaml")
    return recorded_as(tmp_path / "state", used)


def recorded_as(state: Path, used: DaemonRecord) -> Path:
    state.mkdir(exist_ok=True)
    with closing(open_database(StatePaths(state=state).database)) as database:
        record(Records(database), used)
    return state


def test_what_no_option_names_is_the_daemons(state: Path, tmp_path: Path) -> None:
    found = settings_of(None, state, None)
    assert (found.manifests, found.file, found.first_port) == (tmp_path / "m", tmp_path / "host.yaml", 9100)


def test_the_record_is_read_without_a_file_beside_the_database(state: Path) -> None:
    before = sorted(state.iterdir())
    assert recorded(StatePaths(state=state)) is not None
    assert sorted(state.iterdir()) == before


def test_an_option_comes_before_what_is_recorded(state: Path, tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text("ports: {first: 9300, last: 9400}\n")
    assert settings_of(tmp_path / "x", state, None).manifests == tmp_path / "x"
    found = settings_of(None, state, tmp_path / "other.yaml")
    assert (found.manifests, found.first_port) == (tmp_path / "m", 9300)


def test_of_several_daemons_the_one_that_follows_the_manifests_is_meant(state: Path, tmp_path: Path) -> None:
    (tmp_path / "n").mkdir()
    other = recorded_as(tmp_path / "other", DaemonRecord(manifests=tmp_path / "n", settings=None))
    with held(state), held(other):
        assert settings_of(tmp_path / "m", None, None).paths.state == state
        assert settings_of(tmp_path / "n", None, None).paths.state == other
        with pytest.raises(click.ClickException, match="daemons are running on this host; choose one with --state"):
            settings_of(tmp_path / "x", None, None)
        with pytest.raises(click.ClickException, match="choose one with --state"):
            settings_of(None, None, None)


def test_while_several_daemons_run_a_command_that_needs_none_asks_for_none(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = recorded_as(tmp_path / "other", DaemonRecord(manifests=tmp_path / "n", settings=None))
    monkeypatch.delenv("RECONCILER_STATE")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home"))
    (tmp_path / "x").mkdir()
    (tmp_path / "app").mkdir()
    with held(state), held(other):
        for words in (
            ["validate", "--manifests", str(tmp_path / "x")],
            ["init", str(tmp_path / "app"), "--print", "--manifests", str(tmp_path / "x")],
            ["runtimes"],
        ):
            done = CliRunner().invoke(group, words)
            assert done.exit_code == 0, done.output
        for words in (["validate"], ["status"], ["plan", "--manifests", str(tmp_path / "x")]):
            done = CliRunner().invoke(group, words)
            assert (done.exit_code, "choose one with --state" in done.output) == (1, True), done.output


def test_a_daemon_that_starts_uses_nothing_that_an_earlier_one_recorded(state: Path) -> None:
    found = settings_to_start(None, state, None)
    assert (found.manifests, found.first_port) == (Path("manifests").absolute(), 8000)


def test_without_a_record_the_defaults_are_used(tmp_path: Path) -> None:
    found = settings_of(None, tmp_path, None)
    assert (found.manifests, found.file) == (Path("manifests").absolute(), None)


def test_a_state_directory_of_an_earlier_version_names_its_manifests(tmp_path: Path) -> None:
    with closing(open_database(StatePaths(state=tmp_path).database)) as database:
        Records(database).set_fact("manifests", '{"directory": "/srv/m", "files": []}')
    assert recorded(StatePaths(state=tmp_path)) == DaemonRecord(manifests=Path("/srv/m"))


@pytest.mark.parametrize("fact", ["", "[]", '{"manifests": 1}', "{}"])
def test_a_damaged_record_is_none(tmp_path: Path, fact: str) -> None:
    with closing(open_database(StatePaths(state=tmp_path).database)) as database:
        Records(database).set_fact("daemon", fact)
    assert recorded(StatePaths(state=tmp_path)) is None


def test_a_record_that_cannot_be_read_is_told_and_the_defaults_are_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    StatePaths(state=tmp_path).database.write_bytes(b"no database" * 100)
    assert settings_of(None, tmp_path, None).manifests == Path("manifests").absolute()
    told = capsys.readouterr().err
    assert f"cannot read which manifests and settings the daemon of {tmp_path} uses: " in told
    assert "; using the defaults" in told


def test_settings_of_the_daemon_that_are_gone_are_named_with_their_daemon(state: Path, tmp_path: Path) -> None:
    (tmp_path / "host.yaml").unlink()
    with pytest.raises(click.ClickException, match=rf"which the daemon of {state} uses: No such file .*--settings"):
        settings_of(None, state, None)


def test_init_says_that_the_daemon_watches_the_directory_or_what_would_serve_it(state: Path, tmp_path: Path) -> None:
    app = tmp_path / "shop"
    app.mkdir()
    (app / "wsgi.py").write_text("def application(environ, start_response): ...\n")

    def init(*words: str | Path) -> str:
        return CliRunner().invoke(group, ["init", *map(str, words)], env={"RECONCILER_STATE": str(state)}).output

    with held(state) as pid:
        watched = init(app)
        elsewhere = init(app, "--manifests", tmp_path / "other")
    nothing = init(app, "--name", "third")
    assert f"wrote {tmp_path}/m/shop.yaml\nthe daemon (pid {pid}) watches {tmp_path}/m and serves it" in watched
    assert f"the daemon (pid {pid}) watches {tmp_path}/m, so nothing serves this manifest" in elsewhere
    assert f"no daemon is running for {tmp_path}/m: 'reconciler run --manifests {tmp_path}/m' serves it" in nothing


@pytest.fixture
def several(state: Path, tmp_path: Path) -> Iterator[Path]:
    """Where two daemons are running, one for `m` and one for `n`, with an app's source in `shop`."""
    (tmp_path / "n").mkdir()
    other = recorded_as(tmp_path / "other", DaemonRecord(manifests=tmp_path / "n"))
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "wsgi.py").write_text("def application(environ, start_response): ...\n")
    with held(state), held(other):
        yield tmp_path


def told(place: Path, *words: str | Path, code: int = 0) -> str:
    """What a command prints that is run where none of the daemons is named."""
    home = {"RECONCILER_STATE": "", "XDG_STATE_HOME": str(place / "none")}
    done = CliRunner(env=home).invoke(group, list(map(str, words)))
    assert done.exit_code == code, done.output
    return done.output


def test_what_needs_no_daemon_does_not_ask_which_of_several_is_meant(several: Path) -> None:
    assert "path: " in told(several, "init", several / "shop", "--print")
    told(several, "runtimes")
    (several / "shop" / "Procfile").write_text("web: gunicorn wsgi:application\n")
    assert "shop" in told(several, "import", several / "shop", "--check")
    elsewhere = several / "elsewhere"
    assert f"wrote {elsewhere}/shop.yaml" in told(several, "init", several / "shop", "--manifests", elsewhere)
    assert "1 app, no problems" in told(several, "validate", "--manifests", elsewhere)


def test_of_several_daemons_the_one_that_uses_the_named_manifests_is_meant(several: Path) -> None:
    found = settings_of(several / "m" / ".", None, None)
    assert (found.paths.state, found.first_port) == (several / "state", 9100)
    assert settings_of(several / "n", None, None).paths.state == several / "other"
    assert f"watches {several}/m and serves it" in told(several, "init", several / "shop", "--manifests", several / "m")


@pytest.mark.parametrize("words", [("init", "shop"), ("validate",), ("plan",), ("plan", "--manifests", "elsewhere")])
def test_what_is_about_one_of_several_daemons_asks_which(
    several: Path, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(several)
    assert "daemons are running on this host; choose one with --state:" in told(several, *words, code=1)


def test_init_writes_no_manifest_inside_the_app(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "wsgi.py").write_text("def application(environ, start_response): ...\n")
    inside = tmp_path / "shop" / "manifests"
    done = CliRunner().invoke(group, ["init", str(tmp_path / "shop"), "--manifests", str(inside)])
    assert done.exit_code == 1
    assert f"--manifests {tmp_path}/manifests" in done.output
    assert not inside.exists()


def test_a_repository_in_place_of_a_directory_is_what_every_later_command_uses(tmp_path: Path, state: Path) -> None:
    text = "git+https://git.example.com/fleet.git@main#subdirectory=web1"
    started = settings_to_start(text, tmp_path / "s", None)
    assert (started.manifests, started.short_origin) == (tmp_path / "s/manifests", text)
    recorded_as(tmp_path / "s", DaemonRecord(manifests=started.manifests, short_origin=text))
    later = settings_of(None, tmp_path / "s", None)
    assert later.origins == started.origins
    assert [origin.paths for origin in later.origins] == [("web1",)]
    assert settings_of(None, state, None).origins == ()


def test_a_host_with_origins_in_its_settings_needs_no_directory_of_manifests_and_loses_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    default, state = tmp_path / "manifests", tmp_path / "s"
    repository = "{repositories: {fleet: {url: /srv/fleet.git, signed: no}}}"
    file = tmp_path / "host.yaml"
    file.write_text(f"git: {repository}\norigins: {{fleet: {{repository: fleet, branch: main}}}}\n")
    assert settings_to_start(None, state, file).manifests == state / "manifests"
    assert settings_to_start(tmp_path / "named", state, file).manifests == tmp_path / "named"

    default.mkdir()
    started = settings_to_start(None, state, file)
    assert started.manifests == default
    assert started.manifests_from == f"manifests of fleet and in {default}"

    recorded_as(state, DaemonRecord(manifests=default, settings=file))
    default.rmdir()
    assert settings_to_start(None, state, file).manifests == default, "its files are in force, and it may come back"

    recorded_as(state, DaemonRecord(manifests=state / "manifests", settings=file))
    default.mkdir()
    assert settings_to_start(None, state, file).manifests == state / "manifests"


def test_the_variable_that_names_a_repository_means_the_same_to_every_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "git+https://git.example.com/fleet.git@main"
    monkeypatch.setenv("RECONCILER_MANIFESTS", text)
    command = click.command()(host_options(lambda settings: click.echo(repr((settings.manifests, settings.origins)))))
    started = settings_to_start(text, tmp_path / "s", None)
    expected = repr((started.manifests, started.origins))
    before = CliRunner().invoke(command, ["--state", str(tmp_path / "s")])
    recorded_as(tmp_path / "s", DaemonRecord(manifests=started.manifests, short_origin=text))
    after = CliRunner().invoke(command, ["--state", str(tmp_path / "s")])
    assert (before.output, after.output) == (f"{expected}\n", f"{expected}\n")


def test_of_several_daemons_the_one_that_follows_the_repository_is_meant(several: Path) -> None:
    text = "git+https://git.example.com/fleet.git@main"
    recorded_as(several / "other", DaemonRecord(manifests=several / "n", short_origin=text))
    assert settings_of(text, None, None).paths.state == several / "other"


def test_a_repository_that_the_settings_name_as_well_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "host.yaml"
    file.write_text(
        "git: {repositories: {fleet: {url: /srv/fleet.git, signed: no}}}\n"
        "origins: {fleet: {repository: fleet, branch: main}}\n"
    )
    with pytest.raises(
        UnusableSettings, match="the origin 'fleet' that --manifests names is one of the host's settings"
    ):
        settings_to_start("git+file:///srv/fleet.git@main", tmp_path / "s", file)
