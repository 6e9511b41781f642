"""A user-provided service in; the files its credentials come from out."""

from collections.abc import Mapping

from reconciler.planning.services.service import Service


def files_of(service: Service) -> frozenset[str]:
    """Absolute paths; none for a service of another type."""
    asked = service.asked
    literal = asked.get("credentials", {})
    given = literal.values() if isinstance(literal, Mapping) else ()
    found = [str(value["file"]) for value in given if isinstance(value, Mapping) and "file" in value]
    if isinstance(asked.get("credentials_file"), str):
        found.append(str(asked["credentials_file"]))
    return frozenset(found)
