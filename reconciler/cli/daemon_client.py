"""Send requests to the running daemon."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reconciler.cli.options import examples, paths_in_use, state_option
from reconciler.inspection.printable import plain

if TYPE_CHECKING:
    from reconciler.state.paths import StatePaths


class NoDaemon(click.ClickException):
    """No daemon is running in a state directory, where one is needed."""

    exit_code = 3

    def __init__(self, state: Path, when: str = "") -> None:
        super().__init__(
            f"no daemon is running in {state}{when}: start it with 'reconciler run', or name another with --state"
        )


def request(state: Path | None, **fields: Any) -> None:
    """Send a request and print the answer. Raises ClickException if the daemon refuses it or does not answer."""
    click.echo(plain(_answer(paths_in_use(state), fields)))


def _answer(paths: "StatePaths", fields: dict[str, Any]) -> str:
    from reconciler.control.requests import Refused
    from reconciler.control.socket import NoAnswer, ask
    from reconciler.state.lock import holder

    try:
        return str(ask(paths.control, fields)["done"])
    except Refused as refused:
        raise click.ClickException(plain(refused)) from refused
    except NoAnswer as error:
        pid = holder(paths)
        raise click.ClickException(
            f"the daemon{f' (pid {pid})' if pid else ''} of {paths.state} does not answer: {error};"
            " the request may still take effect: see 'reconciler events'"
        ) from error
    except PermissionError as error:
        raise click.ClickException(f"cannot ask the daemon of {paths.state}: only its own user and root may") from error
    except OSError as error:
        if pid := holder(paths):
            raise click.ClickException(
                f"the daemon (pid {pid}) of {paths.state} does not accept requests ({error.strerror or error}):"
                " it may just be starting; try again, or restart it"
            ) from error
        raise NoDaemon(paths.state) from error


def app_request(name: str, text: str | None) -> click.Command:
    """Return the command that makes a request about apps and has no other argument; `text` is its help."""

    @click.command(name, help=text, epilog=examples(f"reconciler {name} blog", f"reconciler {name} blog shop"))
    @click.argument("apps", metavar="APP...", nargs=-1, required=True)
    @state_option
    def command(apps: Sequence[str], state: Path | None) -> None:
        for_each(apps, lambda app: request(state, do=name, app=app))

    return command


def for_each(names: Sequence[str], act: Callable[[str], None]) -> None:
    """Act on each name, whatever becomes of the others. Raises ClickException if it failed for any of them."""
    failures: list[str] = []
    for name in dict.fromkeys(names):
        try:
            act(name)
        except NoDaemon:
            raise
        except click.ClickException as error:
            failures.append(error.message)
    if failures:
        raise click.ClickException("\n".join(dict.fromkeys(failures)))
