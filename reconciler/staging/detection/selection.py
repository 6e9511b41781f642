"""An app's code and its recipe in; the runtime, the entry point and the dependencies chosen, with reasons, out."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from reconciler.planning.desired import Recipe
from reconciler.staging.detection.dependencies import Choices, Dependencies, dependencies
from reconciler.staging.detection.entry_point import EntryPoint, detect
from reconciler.staging.detection.offline import OfflinePackages, find_offline_packages
from reconciler.staging.detection.python_version import Bound, chosen
from reconciler.staging.detection.runtimes import Runtime


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What a look at the code says about how to run it."""

    runtime: Runtime
    because: str
    entry: EntryPoint
    dependencies: Dependencies
    supply: OfflinePackages | None

    def lines(self) -> Iterator[str]:
        """What was chosen, and why."""
        yield f"runtime: {self.runtime.description}, {self.runtime.path} ({self.because})"
        yield f"entry point: {self.entry.target} ({self.entry.interface}; {self.entry.because})"
        for reported in self.entry.reported:
            yield f"entry point: not taken over: {reported}"
        yield f"dependencies: {self.dependencies.file or 'none'} ({self.dependencies.because})"
        if self.supply is not None:
            yield f"packages: {self.supply.name} is beside the code"


def select(code: Path, recipe: Recipe, runtimes: tuple[Runtime, ...]) -> Selection:
    """Look at the code; StagingError that says what is missing or ambiguous. Blocks."""
    found = dependencies(code, Choices(file=recipe.dependencies, extras=recipe.extras, groups=recipe.groups))
    bound = Bound(file=found.file, pythons=found.python, way_out=", or lock again") if found.locked else None
    choice = chosen(runtimes, recipe.runtime, code, bound)
    return Selection(
        runtime=choice.runtime,
        because=choice.because,
        entry=detect(code, recipe.entrypoint, found.directory),
        dependencies=found,
        supply=find_offline_packages(code),
    )
