"""Adopt what an earlier daemon left running: each instance by itself, so that none that fails keeps another from it."""

from collections.abc import Callable, Iterable
from functools import partial

from reconciler.convergence.standing_tasks import StandingTasks
from reconciler.planning.address import Address
from reconciler.serving.adoption import Adoption
from reconciler.serving.instances import Instances
from reconciler.serving.programs.gunicorn import InstancePaths


def adopt_all(
    instances: Instances,
    paths: Callable[[str], InstancePaths],
    keep_listener: Callable[[str, Address, int, str], None],
    tasks: StandingTasks,
    adopted: Callable[[str, int], None],
) -> None:
    """Adopt every instance now, or what cannot be adopted now in a task that tells why and tries again.

    `adopted` is called with app and pid of each web server that is alive.
    """

    async def adopt(instance: str) -> None:
        _tell(instances.adopt(instance, paths), adopted)

    _tell(instances.restore(paths, keep_listener), adopted)
    for instance, (_, record) in instances.unadopted.items():
        tasks.keep(f"adopt instance {instance} of {record.app}", partial(adopt, instance))


def _tell(found: Iterable[Adoption], adopted: Callable[[str, int], None]) -> None:
    for each in found:
        if each.alive and each.pid and "/" not in each.key:
            adopted(each.key, each.pid)
