"""Give a canary every connection.

The new revision of APP, which is tried with a part of new connections, gets all of them at once, and the revision
before it finishes its requests and ends.
"""

from reconciler.cli.daemon_client import app_request

command = app_request("promote", __doc__)
