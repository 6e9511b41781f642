"""An instance that is about to be started: what goes on record of it, and what is known of it before it runs."""

import secrets
import time

from reconciler.serving import logs
from reconciler.serving.live_instance import LiveInstance
from reconciler.serving.programs.gunicorn import InstancePaths
from reconciler.serving.programs.program import Program, WorkersReady
from reconciler.state.records import NO_ADDRESS, InstanceRecord


def new_record(program: Program, boot: str) -> InstanceRecord:
    """Return the record of an instance of a program, of this boot of the host, that has no process yet."""
    return InstanceRecord(
        id=secrets.token_hex(6),
        app=program.app,
        revision=program.revision,
        build=program.build,
        address=program.address or NO_ADDRESS,
        beside="" if program.beside is None else str(program.beside),
        boot=boot,
        started_at=time.monotonic(),
        stop_timeout_s=program.stop_timeout_s,
        workers=program.readiness.workers if isinstance(program.readiness, WorkersReady) else 0,
        directory=program.directory,
        isolation="" if program.sight is None else program.sight.isolation.kind,
        **program.role.as_recorded(),
    )


def new_instance(record: InstanceRecord, program: Program, places: InstancePaths) -> LiveInstance:
    """Return the instance of a record that is to run a program."""
    log = places.log_of(record.process, record.slot)
    return LiveInstance(
        record=record,
        readiness=places.readiness / record.id,
        log=log,
        link=places.code(program.directory),
        log_start=logs.size(log),
        counts_requests=program.counts_requests,
        program=program.name,
    )
