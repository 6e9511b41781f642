"""Take every connection from a canary.

The new revision of APP, which is tried with a part of new connections, gets no further one, finishes its requests
and ends. The revision before it serves on. The new one is tried again after an edit, or 'reconciler restart APP'.
"""

from reconciler.cli.daemon_client import app_request

command = app_request("abort", __doc__)
