"""Find the files of the program's own packages.

`importlib.resources` does too, and loads the reader of zip archives for it: a megabyte that an idle daemon would keep.
"""

from pathlib import Path

_PACKAGE = Path(__file__).parents[1]


def package_directory(name: str) -> Path:
    """Return the directory of a package of ours, given as `reconciler.serving`."""
    return _PACKAGE.joinpath(*name.split(".")[1:])
