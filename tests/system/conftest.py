from tests.hosts import pytest_runtest_makereport, site, store

__all__ = ["pytest_runtest_makereport", "site", "store"]
