"""Retry a failing app now.

Forgets the recorded failures of APP, and retries at once, without waiting for the back-off.
"""

from reconciler.cli.daemon_client import app_request

command = app_request("forget-failure", __doc__)
