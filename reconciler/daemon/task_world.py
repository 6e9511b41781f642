"""Build the World of tasks from the settings of the host."""

from reconciler.host.app_places import AppPlaces
from reconciler.host.stores import Stores
from reconciler.linux.process_identity import boot_id
from reconciler.settings.settings import Settings
from reconciler.state.schema import state_id
from reconciler.tasks.runners import TaskLimits
from reconciler.tasks.world import TaskQueues, TaskWorld
from reconciler.vault.secret_reader import SecretReader


def task_world(settings: Settings, stores: Stores, places: AppPlaces, queues: TaskQueues) -> TaskWorld:
    """Return the World of tasks of a daemon."""
    limits = TaskLimits(
        concurrency=settings.tasks_at_once,
        nice=settings.tasks_nice,
        keep_s=settings.tasks_kept_s,
        timeout_s=settings.task_timeout_s,
        log_limit_bytes=settings.log_limit_bytes,
    )
    return TaskWorld(
        settings.paths,
        limits,
        stores,
        places,
        queues,
        reader=SecretReader(settings),
        state_id=state_id(settings.paths.state),
        boot=boot_id(),
    )
