"""Restart an app.

A new instance of APP starts, and the current one serves until the new one is ready. With the name of a process behind
the app's, only that process is restarted, in the same way.
"""

from reconciler.cli.daemon_client import app_request

command = app_request("restart", __doc__)
