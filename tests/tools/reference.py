"""Write the reference page of the command line: `python -m tests.tools.reference`, which scripts/reference runs."""

from collections.abc import Iterator

import click

from reconciler.cli.failure import REASONS
from reconciler.cli.main import group
from tests.support.documents import DOCS

PAGE = DOCS / "reference" / "commands.md"

_HEAD = """\
# Commands

`scripts/reference` writes this page from the command line itself: change the text there.

`reconciler COMMAND --help` prints the same. Options may stand anywhere after the command; `shell` and `service-shell`
take theirs before the first argument, because they pass arguments on, and so do they and `task` pass on the exit code
of what they run, and `exec` becomes the program. `--host` runs a command [on another
host](../howto/remote.md).

| exit code | meaning |
|---|---|
| 0 | success, or everything is up to date |
| 1 | failure; the reason is on standard error or in the output |
| 2 | a wrong command line; from `plan`: there are actions to do |
| 3 | no daemon is running where one is needed; from `status --check`: all is up to date, but no daemon is running |
| 3 | from `exec`: the app was not ready within its start timeout |
| 125 | from `task`: the command was not begun |
| 130 | from `task`: Ctrl-C was pressed; the task goes on |
| 137 | from `task`: the command was killed with its runner |
| 141 | from `task`: the reader of the output has gone; the task goes on |
| 127 | with `--host`: no reconciler is on the other host's PATH |
| 255 | with `--host`: ssh could not run the command on the other host |

"""
_FAILURES = """\
Where the output is JSON, as also with `validate --format json` and `run --events json`, a command that fails says why
in the last line of standard error:
`{"error": {"reason": "no-daemon", "message": "no daemon is running in …"}}`. The message is for people, the reason for
programs:

| reason | meaning |
|---|---|
"""
_VARIABLES = """
| variable | option |
|---|---|
"""


def commands() -> str:
    """The whole page."""
    above = click.Context(group, info_name="reconciler")
    names = group.list_commands(above)
    variables = {variable for name in names for variable in variables_of(above, name)}
    reasons = "".join(f"| `{reason}` | {meaning} |\n" for reason, meaning in REASONS.items())
    head = f"{_HEAD}{without_json(above, names)}\n\n{_FAILURES}{reasons}{_VARIABLES}"
    return "\n".join([head + "\n".join(sorted(variables)), "", *(section(above, name) for name in names)])


def command_of(above: click.Context, name: str) -> click.Command:
    command = group.get_command(above, name)
    assert command is not None
    return command


def without_json(above: click.Context, names: list[str]) -> str:
    """Say which commands have no --json."""
    *others, last = (
        f"`{name}`" for name in names if not any("--json" in o.opts for o in options_of(command_of(above, name)))
    )
    return f"Every command but {', '.join(others)} and {last} takes `--json`."


def options_of(command: click.Command) -> list[click.Option]:
    return [parameter for parameter in command.params if isinstance(parameter, click.Option)]


def variables_of(above: click.Context, name: str) -> Iterator[str]:
    """A line for each option that a variable can stand for."""
    for option in options_of(command_of(above, name)):
        if option.envvar:
            yield f"| `{option.envvar}` | `{option.opts[0]}` |"


def section(above: click.Context, name: str) -> str:
    """What there is to say of one command."""
    return _section(command_of(above, name), above, name, "##")


def _section(command: click.Command, above: click.Context, name: str, heading: str) -> str:
    ctx = click.Context(command, info_name=name, parent=above)
    title = ctx.command_path.removeprefix("reconciler ")
    told = [f"{heading} {title}", "", f"`{' '.join(command.get_usage(ctx).removeprefix('Usage: ').split())}`", ""]
    told += [*prose(command.help or "")]
    if options := options_of(command):
        told += ["| option | meaning | default |", "|---|---|---|", *(row(option, ctx) for option in options), ""]
    told += ["```sh", *examples(command.epilog or ""), "```", ""]
    inner = command.commands.values() if isinstance(command, click.Group) else ()
    return "\n".join([*told, *(_section(each, ctx, each.name or "", f"{heading}#") for each in inner)])


def prose(text: str) -> Iterator[str]:
    """The paragraphs of a help text, each on a line."""
    for paragraph in text.replace("\b", "").split("\n\n"):
        yield " ".join(paragraph.split())
        yield ""


def row(option: click.Option, ctx: click.Context) -> str:
    """One line of the table of options."""
    record = option.get_help_record(ctx)
    assert record is not None
    names, told = (" ".join(text.split()).replace("|", "\\|") for text in record)
    what, _, default = told.removesuffix("]").partition(" [")
    default = default.removeprefix("default: ")
    default = default[1:-1] if default.startswith("(") and default.endswith(")") else default
    return f"| `{names}` | {what} | {default} |"


def examples(text: str) -> Iterator[str]:
    """The lines of a command's examples."""
    for line in text.splitlines():
        if line.startswith("  "):
            yield line.strip()


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(commands(), encoding="utf-8")
    print(f"wrote {PAGE}")
