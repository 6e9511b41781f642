"""Requests for a number of workers, as the API and the page take them."""

from collections.abc import Mapping
from typing import Any

from reconciler.documents.names import is_name
from reconciler.web.responses import Problem


def scale_request(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a request as the daemon takes it, which judges the numbers itself; raises Problem."""
    if not {"do", "app", "workers"} <= content.keys() or content.keys() - {"do", "app", "workers", "for"}:
        raise Problem(422, 'expected {"do": "scale", "app": …, "workers": …} and optionally "for", in seconds')
    app = content["app"]
    if not isinstance(app, str) or not is_name(app):
        raise Problem(422, "'app' must be the name of an app")
    return dict(content)
