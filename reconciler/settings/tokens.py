"""Read a token from the file that the settings name: of the API, or of a git server."""

from pathlib import Path

_SHORTEST_TOKEN = 16
_LONGEST_TOKEN = 4096


def token_of(path: Path) -> str:
    """Return the token in a file. Raises OSError or ValueError, which never says what the file holds."""
    with path.open("rb") as file:
        content = file.read(_LONGEST_TOKEN + 1)
    if len(content) > _LONGEST_TOKEN:
        raise ValueError(f"the token in {path} is longer than {_LONGEST_TOKEN} bytes")
    try:
        token = content.decode("ascii").strip()
    except UnicodeDecodeError:
        raise ValueError(f"the token in {path} must be plain ASCII") from None
    if len(token) < _SHORTEST_TOKEN or not token.isprintable():
        raise ValueError(f"the token in {path} must be one line of at least {_SHORTEST_TOKEN} printable characters")
    return token
