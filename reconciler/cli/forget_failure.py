"""Retry a failing app now.

The recorded failures of APP are forgotten, and what failed is tried again at once, without waiting for the back-off.
"""

from reconciler.cli.daemon_client import app_request

command = app_request("forget-failure", __doc__)
