"""Build the program of a process: its command line, in the place of its app's instances, without a listener."""

import json
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import field, replace

from reconciler.host.app_places import Place
from reconciler.linux.dataclass import dataclass
from reconciler.linux.package_files import package_directory
from reconciler.planning.command_line import Command
from reconciler.planning.processes.process import After, AppProcess
from reconciler.serving.marks import PROCESS_MARK, Identity
from reconciler.serving.programs.program import Program, Role, StaysAlive
from reconciler.serving.programs.sight import sight_of

_NOBODY = Identity(state="", instance="", started_at=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessPlace:
    """Where one number of a process runs, and what it runs.

    `notify` are the variables of its NOTIFY_SOCKET, if any, `secrets` those that it takes from files of its own.
    """

    asked: AppProcess
    slot: int
    place: Place
    command: Command
    notify: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def name(self) -> str:
        """What messages call it: `worker.1`."""
        return f"{self.asked.process.name}.{self.slot}"

    def program(self, version: str) -> Program:
        """Return the program of this version."""
        process, revision = self.asked.process, self.place.revision
        return Program(
            name=self.name,
            app=self.asked.app,
            revision=revision.id,
            build=revision.build.id,
            argv=self.launched(self.command),
            environment=self.environment,
            readiness=StaysAlive(seconds=process.ready.seconds if isinstance(process.ready, After) else 0.0),
            directory=revision.id,
            start_timeout_s=process.start_timeout_s,
            stop_timeout_s=process.stop_timeout_s,
            sight=sight_of(revision, self.place.code.python),
            role=Role(process=process.name, slot=self.slot, version=version, stop=str(process.stop_of(self.command))),
        )

    def launched(self, command: Command) -> tuple[str, ...]:
        """Return the command line that becomes a program here."""
        launcher, code = str(package_directory("reconciler.serving") / "launcher.py"), self.place.code
        python = (code.python,) if code.python else (sys.executable, "-I", "-S")
        return (*python, launcher, code.directory, "--", *command.arguments(self.environment(_NOBODY)))

    def environment(self, identity: Identity) -> dict[str, str]:
        """Return the variables of a program that has this identity."""
        given = replace(self.place.given, limits=self.asked.process.limits)
        own = {**self.asked.process.env, **self.secrets}
        variables = replace(self.place, given=given, own=own).environment(identity)
        variables |= self.command.variables(variables)
        number = str(self.slot - 1)
        return {
            **variables,
            "INSTANCE_INDEX": number,
            "CF_INSTANCE_INDEX": number,
            "VCAP_APPLICATION": self._vcap_application(variables.get("VCAP_APPLICATION", "")),
            PROCESS_MARK: self.name,
            **self.notify,
        }

    def _vcap_application(self, text: str) -> str:
        """Return VCAP_APPLICATION for a process: of its type and index, at no address."""
        with suppress(ValueError):
            known = json.loads(text)
            for field_of_web in ("port", "host"):
                known.pop(field_of_web, None)
            index, process_type = self.slot - 1, self.asked.process.name
            known |= {"process_type": process_type, "instance_index": index, "uris": [], "application_uris": []}
            return json.dumps(known, sort_keys=True)
        return text
