"""The Worlds that one daemon converges, each with a controller of its own; `Daemon` lists them."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from reconciler.convergence.backoff import Backoff
from reconciler.convergence.controller import Controller
from reconciler.convergence.standing_tasks import StandingTasks
from reconciler.convergence.wake_queue import WakeQueue
from reconciler.convergence.world import Asked, World
from reconciler.planning.desired_state import DesiredState
from reconciler.settings.settings import Settings


class FollowingWorld(World, Protocol):
    """A World that takes its part of the desired state, and says what it knows by name."""

    def follow(self, desired: DesiredState) -> Mapping[str, Asked]:
        """Learn what is desired, and return this World's part of it by name."""
        ...

    def names(self) -> frozenset[str]:
        """Return every name of which anything is desired or left."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Converging:
    """One World, and the controller that makes it as desired."""

    world: FollowingWorld
    controller: Controller

    def follow(self, desired: DesiredState) -> None:
        """Converge to this desired state; what has left traces and is not desired goes away."""
        self.controller.replace(self.world.follow(desired), also=self.world.names())


def converging(
    world: FollowingWorld, acting: World, wakeups: WakeQueue, settings: Settings, tasks: StandingTasks
) -> Converging:
    """Return a World with its controller, which acts on `acting`: the same World, as others wrap it."""
    controller = Controller(
        acting,
        wakeups,
        tasks,
        backoff=Backoff(first_s=settings.retry_first_s, cap_s=settings.retry_cap_s),
        resync_s=settings.resync_s,
        noise=random.Random(),
    )
    return Converging(world=world, controller=controller)
