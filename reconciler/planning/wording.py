"""Words that messages of every layer share."""


def counted(number: int, noun: str) -> str:
    """Return the number with its noun: `1 app`, `3 apps`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
