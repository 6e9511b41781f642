"""Stop an app until its manifest changes.

APP is stopped and its port is closed. It starts again when its manifest changes, or with 'reconciler start APP'.
"""

from reconciler.cli.daemon_client import app_request

command = app_request("stop", __doc__)
