"""Which version this is, as its build wrote it down: no package's metadata is searched for it."""

try:
    from reconciler._version import VERSION as _BUILT
except ImportError:  # a tree of which nothing was ever built or installed
    _BUILT = "0.0"

VERSION: str = _BUILT
