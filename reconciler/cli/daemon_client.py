"""Send requests to the running daemon."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reconciler.cli.failure import Failure, Told, facts
from reconciler.cli.options import NeverUsed, all_option, examples, paths_in_use, state_option
from reconciler.inspection.printable import json_text, plain

if TYPE_CHECKING:
    from reconciler.state.paths import StatePaths

# Requests that can be about one process of an app as well.
_OF_PROCESSES = frozenset(("restart", "stop", "start"))


class NoDaemon(Failure):
    """No daemon is running in a state directory, where one is needed."""

    exit_code = 3

    def __init__(self, state: Path, when: str = "", remedy: str = "") -> None:
        remedy = remedy or "start it with 'reconciler run', or name another with --state"
        super().__init__("no-daemon", f"no daemon is running in {state}{when}: {remedy}")


class NotAllowed(Failure):
    """The daemon of a state directory takes no requests from this user."""

    def __init__(self, state: Path) -> None:
        super().__init__("not-allowed", f"cannot ask the daemon of {state}: only its own user and root may")


def paths_of_daemon(state: Path | None) -> "StatePaths":
    """Return the paths of a state directory whose daemon is needed. Raises NoDaemon if none has ever used it."""
    try:
        return paths_in_use(state)
    except NeverUsed as error:
        raise NoDaemon(error.state, remedy=error.remedy) from error


def request(state: Path | None, *, as_json: bool, **fields: Any) -> None:
    """Send a request and print the answer. Raises Failure if the daemon refuses it or does not answer."""
    done = _answer(paths_of_daemon(state), fields)
    about = {name: value for name, value in fields.items() if name != "do"}
    click.echo(json_text({**about, "done": done, "error": None}) if as_json else plain(done))


def _answer(paths: "StatePaths", fields: dict[str, Any]) -> str:
    return str(asked(paths, **fields)["done"])


def asked(paths: "StatePaths", **fields: Any) -> dict[str, Any]:
    """Send a request and return the whole answer. Raises ClickException as `request` does."""
    from reconciler.control.requests import Refused
    from reconciler.control.socket import NoAnswer, ask
    from reconciler.state.lock import holder

    try:
        return ask(paths.control, fields)
    except Refused as refused:
        hint = _hint(paths, fields.get("app"))
        raise Failure(refused.reason, plain(f"{refused}{hint}")) from refused
    except NoAnswer as error:
        pid = holder(paths)
        raise Failure(
            "no-answer",
            f"the daemon{f' (pid {pid})' if pid else ''} of {paths.state} does not answer: {error};"
            " the request may still take effect: see 'reconciler events'",
        ) from error
    except PermissionError as error:
        raise NotAllowed(paths.state) from error
    except OSError as error:
        if pid := holder(paths):
            raise Failure(
                "no-answer",
                f"the daemon (pid {pid}) of {paths.state} does not accept requests ({error.strerror or error}):"
                " it may just be starting; try again, or restart it",
            ) from error
        raise NoDaemon(paths.state) from error


def outcome_of(paths: "StatePaths", do: str, app: str) -> str:
    """Make a request about an app and return what was done. Raises Failure as `request` does."""
    return _answer(paths, {"do": do, "app": app})


def _hint(paths: "StatePaths", app: Any) -> str:
    """Return what was probably meant by an app that no manifest describes, "" for one that exists."""
    from reconciler.cli.app_names import desired_apps, meant

    if not isinstance(app, str) or app in (known := desired_apps(paths)):
        return ""
    likely = meant(known, app)
    return f"; {likely}" if likely else ""


def app_request(name: str, text: str | None) -> click.Command:
    """Return the command that makes a request about apps and has no other argument; `text` is its help."""
    lines = [f"reconciler {name} blog", f"reconciler {name} blog 'shop-*'", f"reconciler {name} --all --json"]
    if name in _OF_PROCESSES:
        lines.insert(2, f"reconciler {name} shop worker")

    @click.command(name, help=text, epilog=examples(*lines))
    @click.argument("apps", metavar="[APP]...", nargs=-1)
    @all_option("Every app that a manifest describes; services are left.")
    @click.option("--json", "as_json", is_flag=True, help="Print one JSON object per app.")
    @state_option
    def command(apps: Sequence[str], everything: bool, as_json: bool, state: Path | None) -> None:
        from reconciler.cli.app_names import chosen_apps, process_named

        paths = paths_of_daemon(state)
        if (of := process_named(paths, apps) if name in _OF_PROCESSES else None) is not None:
            request(state, as_json=as_json, do=name, app=of[0], process=of[1])
            return
        names = chosen_apps(paths, apps, everything=everything)
        if as_json:
            _print_each(paths, name, names)
        else:
            for_each(names, lambda app: click.echo(plain(outcome_of(paths, name, app))))

    return command


def _print_each(paths: "StatePaths", do: str, names: Sequence[str]) -> None:
    """Print what became of each app as a line of JSON. Raises Told if it failed for any of them."""
    failures: list[click.ClickException] = []
    for name in names:
        error: dict[str, str] | None = None
        done: str | None = None
        try:
            done = outcome_of(paths, do, name)
        except click.ClickException as raised:
            failures.append(raised)
            error = facts(raised)
        click.echo(json_text({"app": name, "done": done, "error": error}))
    if failures:
        worst = max(failures, key=lambda each: each.exit_code)
        text = "\n".join(dict.fromkeys(each.message for each in failures))
        raise Told(facts(worst)["reason"], text, exit_code=worst.exit_code)


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
