"""Resume an app after 'stop' or 'rollback'.

The manifest of APP applies again. An app that was neither stopped nor rolled back is left alone.
"""

from reconciler.cli.daemon_client import app_request

command = app_request("start", __doc__)
