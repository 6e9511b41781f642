"""The Jobs of an app: of its release command, and of each schedule a CronJob."""

import json
from collections.abc import Iterator

from reconciler.cluster.cron import cron_of, deadline_of, policy_of
from reconciler.cluster.names import dns_name
from reconciler.cluster.pods import Object, Part, template, whole
from reconciler.cluster.secrets import Secrets
from reconciler.cluster.target import Target
from reconciler.planning.apps.app import App
from reconciler.planning.command_line import Command
from reconciler.planning.fingerprint import fingerprint
from reconciler.planning.schedules.schedule import Schedule

_LONGEST_STEM = 42  # the name is a label of the pod, too, of at most 63 characters
_TRIES = 6


def release(app: App, target: Target, secrets: Secrets) -> Iterator[tuple[str, str, str, Object]]:
    """Yield the Job of the release command: another image, command or variable is another Job."""
    if app.release is None:
        return
    part = Part(id="release", shell=app.release, limits=app.limits, ends=True)
    spec: Object = {
        "backoffLimit": _TRIES if app.retries_release else 0,
        "activeDeadlineSeconds": whole(target.release_timeout_s),
        "template": template(app, part, target, secrets),
    }
    name = f"{app.name[:_LONGEST_STEM].rstrip('-')}-release-{fingerprint(json.dumps(spec, sort_keys=True))}"
    yield "Job", name, "release", {"spec": spec}


def schedules(app: App, target: Target, secrets: Secrets) -> Iterator[tuple[str, str, str, Object]]:
    """Yield the CronJob of each schedule whose times a CronJob can have."""
    for schedule in app.schedules:
        times = cron_of(schedule)
        if times is None:
            continue
        keep = schedule.keep
        spec: Object = {
            "schedule": times,
            "timeZone": "Etc/UTC" if schedule.zone == "UTC" else schedule.zone,
            "concurrencyPolicy": policy_of(schedule),
            "startingDeadlineSeconds": deadline_of(schedule),
            "suspend": schedule.paused or app.state == "stopped",
            "successfulJobsHistoryLimit": keep,
            "failedJobsHistoryLimit": keep,
            "jobTemplate": {"spec": _job(app, schedule, target, secrets)},
        }
        yield "CronJob", f"{app.name}-{dns_name(schedule.name)}", f"schedule.{schedule.name}", {"spec": spec}


def _job(app: App, schedule: Schedule, target: Target, secrets: Secrets) -> Object:
    part = Part(
        id=f"schedule.{schedule.name}",
        key=f"schedules.{schedule.name}",
        command=Command(words=schedule.command, expands=schedule.expands),
        env=schedule.env,
        env_files=schedule.env_files,
        limits=app.limits,
        ends=True,
    )
    return {
        "backoffLimit": schedule.retries.count,
        "activeDeadlineSeconds": whole(schedule.timeout_s),
        "template": template(app, part, target, secrets),
    }
