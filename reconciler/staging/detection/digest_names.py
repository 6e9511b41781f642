"""Names that digests of an app's dependencies are stored under, in environments and bundles.

A change here would rebuild every environment.
"""

ITSELF = "the project itself"
OPTIONS = "the extras and groups"
