"""Restart an app.

A new instance of APP starts, and the current one serves until the new one is ready.
"""

from reconciler.cli.daemon_client import app_request

command = app_request("restart", __doc__)
