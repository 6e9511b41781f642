"""Read an instance of a process from its record, for the daemon that runs it and for who only looks."""

from reconciler.planning.processes.observed import ProcessInstance
from reconciler.planning.processes.stop import StopSequence, one_signal, parsed
from reconciler.state.records import InstanceRecord


def stop_of(record: InstanceRecord) -> StopSequence:
    """Return what the instance is told when it is to stop."""
    return parsed(record.stop) or one_signal(record.stop_timeout_s)


def on_record(record: InstanceRecord) -> ProcessInstance:
    """Return the instance as far as its record knows it."""
    return ProcessInstance(
        id=record.id,
        slot=record.slot,
        version=record.version,
        revision=record.revision,
        build=record.build,
        pid=record.pid or 0,
        started_at=record.started_at,
        stop=stop_of(record),
        steps=record.steps,
        ready_at=record.ready_at,
        stopping_since=record.stopping_since,
    )
