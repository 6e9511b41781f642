"""Stop an app until its manifest changes.

APP is stopped and its port is closed. It starts again when its manifest changes, or with 'reconciler start APP'. With
the name of a process behind the app's, only that process is told to finish, and the app serves on.
"""

from reconciler.cli.daemon_client import app_request

command = app_request("stop", __doc__)
