"""How hard hypothesis tries: RECONCILER_TESTS=nightly asks for the long version of every property and history."""

import os

from hypothesis import settings

settings.register_profile("everyday", max_examples=200, deadline=None, derandomize=True)
settings.register_profile("nightly", max_examples=20_000, deadline=None)
settings.load_profile(os.environ.get("RECONCILER_TESTS", "everyday"))
