"""The number of instances that serve an app, or the range in which a cluster chooses it by need."""

from reconciler.linux.dataclass import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceRange:
    """So many instances as `least`, or up to `most`, so that each uses `cpu` percent of the cores that it asks for."""

    least: int = 1
    most: int | None = None
    cpu: int = 70

    @property
    def are_several(self) -> bool:
        """Whether there may be more than one."""
        return self.least > 1 or self.most is not None


ONE = InstanceRange()
