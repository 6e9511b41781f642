"""How a build's program is reached, and the commands that the build's own code asks for, as values.

A command that looks at builds loads these, and nothing else of a revision.
"""

from typing import Literal, TypeAlias

from reconciler.linux.dataclass import dataclass

# How a program of another kind than gunicorn is reached: it inherits a socket, or opens one at $SOCKET or $PORT.
Listen: TypeAlias = Literal["descriptor", "socket", "port"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeCommands:
    """The commands that a build's own code asks for before it serves, each "" for none.

    `collect` collects the static files of a Django project, `release` is the release line of a Procfile.
    """

    collect: str = ""
    release: str = ""

    def __bool__(self) -> bool:
        return bool(self.collect or self.release)


NO_COMMANDS = CodeCommands()
