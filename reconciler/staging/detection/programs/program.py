"""A program that serves an app by itself, as a manifest names it or as the code shows it."""

import shlex

from reconciler.linux.dataclass import dataclass
from reconciler.planning.apps.code_commands import Listen
from reconciler.staging.detection.programs.languages import language_of
from reconciler.staging.detection.shown_text import shown


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingProgram:
    """The command that serves an app in place of gunicorn, and what runs once in its code before.

    `because` says where it was found, `release` is the release line of a Procfile, `reported` lists what is not
    followed, `notes` what an operator should know. An app without a web server has no `command`.
    """

    command: tuple[str, ...]
    listen: Listen
    because: str
    build: tuple[str, ...] = ()
    release: str = ""
    reported: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        """A line of the staging log: what serves, how it is reached, and why."""
        if not self.command:
            return f"program: none ({self.because})"
        return f"program: {shown(shlex.join(self.command))} (listen: {self.listen}; {self.because})"

    @property
    def language_program(self) -> str:
        """The program that tells in which language it is: that of the command, or what builds it; "" without any."""
        words = (*self.command[:1], *self.build[:1])
        return next((word for word in words if language_of(word) is not None), next(iter(self.command), ""))

    @property
    def name(self) -> str:
        """The name of the program, without its directory; "" without one."""
        return self.command[0].rpartition("/")[2] if self.command else ""
