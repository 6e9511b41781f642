"""Describe the Pythons that a file allows: alternatives of version specifiers, each as PEP 440 has them."""

import re
from typing import TYPE_CHECKING, Self

from reconciler.linux.dataclass import dataclass

if TYPE_CHECKING:
    from packaging.specifiers import SpecifierSet

_EXACT = re.compile(r"===?(?P<minor>\d+\.\d+)(?:\.\d+)?")


@dataclass(frozen=True, slots=True)
class PythonBounds:
    """Pythons that one of the alternatives contains; without any, all of them. As text: `>=3.8,<4 || ==2.7.*`."""

    alternatives: "tuple[SpecifierSet, ...]" = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the bounds of specifiers, alternatives between `||`; raises ValueError."""
        if not text.strip():
            return cls()
        from packaging.specifiers import SpecifierSet  # most apps name no bounds

        found = tuple(SpecifierSet(part) for part in text.split("||"))
        return cls(found if all(found) else ())

    def __bool__(self) -> bool:
        return bool(self.alternatives)

    def __str__(self) -> str:
        return " || ".join(map(str, self.alternatives))

    def __contains__(self, version: str) -> bool:
        return not self or any(each.contains(version, prereleases=True) for each in self.alternatives)

    def any_patch(self) -> "PythonBounds":
        """Return the same bounds with every patch release of a minor version that they pin to one of them."""
        return PythonBounds(tuple(_any_patch(each) for each in self.alternatives))


def _any_patch(specifiers: "SpecifierSet") -> "SpecifierSet":
    from packaging.specifiers import SpecifierSet  # the same

    parts = str(specifiers).split(",")
    exact = [_EXACT.fullmatch(part) for part in parts]
    return SpecifierSet(",".join(f"=={e['minor']}.*" if e else part for e, part in zip(exact, parts, strict=True)))
