"""What a service is called on a server: its name, which an operator knows, and its id, which no other has."""

from reconciler.services.kind import Provision


def called(service: Provision, longest: int) -> str:
    """Small letters, digits and `_`, beginning with a letter, at most `longest` bytes; the same for ever."""
    readable = service.name.replace("-", "_")
    if not readable[0].isalpha():
        readable = f"s{readable}"
    return f"{readable[: longest - len(service.id) - 1]}_{service.id}"
