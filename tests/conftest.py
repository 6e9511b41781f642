"""How hard hypothesis tries: RECONCILER_TESTS=nightly asks for the long version of every property and history."""

import os

from hypothesis import HealthCheck, Phase, settings

_BUSY = [HealthCheck.too_slow]  # a machine with other work is no fault of a test's
settings.register_profile("everyday", max_examples=100, deadline=None, derandomize=True, suppress_health_check=_BUSY)
settings.register_profile("nightly", max_examples=20_000, deadline=None, suppress_health_check=_BUSY)
settings.register_profile("mutants", max_examples=40, deadline=None, derandomize=True, phases=[Phase.generate])
settings.load_profile(os.environ.get("RECONCILER_TESTS", "everyday"))
