"""Drain the logs of this host to the target of its settings."""

from reconciler.daemon.drains.drain import LogDrain
from reconciler.daemon.drains.targets import target_of
from reconciler.inspection.redaction import Redactor
from reconciler.planning.subject import HOST, Subject
from reconciler.serving.instances import Instances
from reconciler.settings.settings import Drain, Settings
from reconciler.state.journal import Journal


async def drain_logs(
    settings: Settings, drain: Drain, instances: Instances, redactor: Redactor, journal: Journal
) -> None:
    """Pass the lines of the apps' logs on, until cancelled."""
    await LogDrain(
        drain,
        target_of(drain, limit_bytes=settings.log_limit_bytes, keep=settings.logs_kept),
        settings.paths,
        limit_bytes=settings.log_limit_bytes,
        apps=lambda: {**dict.fromkeys(instances.apps(), ()), **instances.process_logs()},
        secrets=lambda app: redactor.texts(Subject("app", app)),
        record=lambda reason, text: journal.write(HOST, "daemon", text, reason=reason),
    ).run()
