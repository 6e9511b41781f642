"""Resume an app after 'stop', 'rollback' or maintenance.

The manifest of APP applies again. An app for which none of these was requested is left alone. With the name of a
process behind the app's, that process runs again.
"""

from reconciler.cli.daemon_client import app_request

command = app_request("start", __doc__)
