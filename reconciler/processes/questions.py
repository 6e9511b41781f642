"""Make the commands that are run about a process, in the place of what it runs: as its app, with its variables."""

from dataclasses import replace

from reconciler.host.app_places import AppPlaces
from reconciler.isolation.cells import CELL_VARIABLE
from reconciler.isolation.limiting import hold
from reconciler.planning.command_line import Command
from reconciler.planning.processes.process import AppProcess, Target
from reconciler.processes.commands import Question
from reconciler.processes.programs import ProcessPlace
from reconciler.processes.targets import Targets
from reconciler.serving.live_instance import CannotStart, LiveInstance
from reconciler.serving.process_instances import ProcessInstances
from reconciler.serving.sandbox import SANDBOX_VARIABLE


class Questions:
    """Makes them; each is None as long as there is no revision to ask about."""

    def __init__(self, places: AppPlaces, targets: Targets, instances: ProcessInstances) -> None:
        self._places = places
        self._targets = targets
        self._instances = instances

    def beside(self, asked: AppProcess, live: LiveInstance, command: Command) -> Question | None:
        """Return a command as it is run beside an instance of the revision that serves, None for another one's."""
        found = self._targets.of(asked.app, asked.process).target
        where = self._where(asked, found, live.record.revision, live.record.slot)
        return None if where is None else self._question(where, command)

    def of_number(self, asked: AppProcess) -> Question | None:
        """Return the command that says what waits for a process, held to the limits of one instance of it."""
        found, by = self._targets.of(asked.app, asked.process).target, asked.process.scale
        where = None if found is None else self._where(asked, found, found.revision, 1)
        if where is None or by is None:
            return None
        sandbox, cells, identity = where.place.sandbox, self._places.cells, self._instances.new_identity()
        limits = cells.limits_of(asked.name)
        cell = cells.make(asked.app, identity.instance, limits.controllers)
        held = hold(cell, limits, (), sandbox.nofile) if limits else {}
        limited = replace(where, place=replace(where.place, sandbox=sandbox.limited(limits, held)))
        return replace(self._question(limited, by.command, cell.entrances), cell=cell)

    def _where(self, asked: AppProcess, found: Target | None, revision: str, slot: int) -> ProcessPlace | None:
        known = None if found is None else self._targets.revision(asked.app, revision)
        if found is None or known is None:
            return None
        try:
            place, secrets = self._places.of(known), self._places.values_of(found.secrets)
        except CannotStart:
            return None
        return ProcessPlace(asked=asked, slot=slot, place=place, command=found.command, secrets=secrets)

    def _question(self, where: ProcessPlace, command: Command, cells: tuple[str, ...] = ()) -> Question:
        environment = {
            **where.environment(self._instances.new_identity()),
            SANDBOX_VARIABLE: where.place.sandbox.as_variable(),
            **({CELL_VARIABLE: "\n".join(cells)} if cells else {}),
        }
        arguments, given = where.place.confined(where.launched(command), environment, cells=cells)
        return Question(arguments=arguments, environment=given)
