"""Note that an instance has answered every request with an error: it serves, but hardly as its operator meant."""

from pathlib import Path

from reconciler.planning.reason import Cause, Reason

# Fewer may be a browser that asks for an icon.
_LEAST = 3


def note_on_answers(passed: Path, code: Path | None) -> Cause | None:
    """Return what to know of the answers of an instance so far, None if there is nothing.

    `passed` is the directory in which its workers count them, `code` is what it serves. Blocks for a few small files.
    """
    from reconciler.serving.gate_figures_reader import of_instance

    *others, client_errors, server_errors = of_instance(passed).classes
    if any(others) or client_errors + server_errors < _LEAST or (client_errors and server_errors):
        return None
    count = f"each of its {client_errors + server_errors} answers so far was"
    if server_errors:
        return Cause(Reason.ONLY_SERVER_ERRORS, f"{count} an error of the app (5xx): its log says which")
    text = f"{count} an error of the client (4xx)"
    if code is not None and (code / "manage.py").is_file():
        text += "; Django answers 400 while ALLOWED_HOSTS lacks the host name that clients use: add it there"
    return Cause(Reason.ONLY_CLIENT_ERRORS, text)
