"""Facts in, an answer out that a terminal may print: JSON in which what cannot be seen is escaped."""

from typing import Any

from starlette.responses import JSONResponse

from reconciler.inspection.printable import json_text


class JsonAnswer(JSONResponse):
    """Letters stay letters."""

    def render(self, content: Any) -> bytes:
        return json_text(content).encode()
