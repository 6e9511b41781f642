"""The names of objects, which are DNS names."""


def dns_name(name: str) -> str:
    """Return the name of a process or a schedule as objects and containers may have it."""
    return name.lower().replace("_", "-")
