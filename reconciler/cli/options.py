"""The options most commands share, and the settings they make."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from reconciler.settings import Layout, Settings, default_state

_Command = TypeVar("_Command", bound=Callable[..., Any])


class _Duration(click.ParamType[float]):
    """A span of time as manifests write it, in seconds."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        from reconciler.manifests.units import duration_s  # noqa: PLC0415  start-up time

        try:
            return duration_s(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


DURATION = _Duration()


def manifests_option(command: _Command) -> _Command:
    """--manifests DIR"""
    return click.option(
        "--manifests",
        type=click.Path(path_type=Path, file_okay=False),
        envvar="RECONCILER_MANIFESTS",
        default=Path("manifests"),
        show_default="./manifests",
        metavar="DIR",
        help="Where the manifests are.",
    )(command)


def state_option(command: _Command) -> _Command:
    """--state DIR"""
    return click.option(
        "--state",
        type=click.Path(path_type=Path, file_okay=False),
        envvar="RECONCILER_STATE",
        default=None,
        show_default="/var/lib/reconciler for root, else $XDG_STATE_HOME/reconciler",
        metavar="DIR",
        help="Where the daemon keeps what it makes.",
    )(command)


def json_option(command: _Command) -> _Command:
    """--json"""
    return click.option("--json", "as_json", is_flag=True, help="Print facts as JSON.")(command)


def layout_of(state: Path | None) -> Layout:
    """The layout of the state directory named on the command line, or of the default one."""
    return Layout(state=(state or default_state()).absolute())


def settings_of(manifests: Path, state: Path | None) -> Settings:
    """The settings of this host for these two directories."""
    return Settings(manifests=manifests.absolute(), layout=layout_of(state))


def layout_in_use(state: Path | None) -> Layout:
    """The layout of a state directory that exists; a usage error that says what to do otherwise."""
    layout = layout_of(state)
    if not layout.database.exists():
        raise click.ClickException(
            f"nothing was ever run in {layout.state}: start 'reconciler run' or 'reconciler apply', or give --state"
        )
    return layout
