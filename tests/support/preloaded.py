"""What the process has loaded that daemons and commands are forked from, and what it knows: this host's interpreters.

A daemon runs each of them to learn its version. They are the same for every life of a test run.
"""

from functools import cache

import click

from reconciler.cli.main import _COMMANDS, group
from reconciler.staging.detection import runtimes
from tests.support import commands, life

__all__ = ["commands", "life"]

for name in _COMMANDS:
    group.get_command(click.Context(group), name)

vars(runtimes)["probe"] = cache(runtimes.probe)
runtimes.discover(())
