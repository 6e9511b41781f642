"""What was found, a file for each case: the figures with every sample, the bounds, and the machine it was found on."""

import json
from pathlib import Path
from typing import Any

PLACE = Path(__file__).parent / "results"


def write(name: str, found: dict[str, Any], place: Path) -> Path:
    place.mkdir(parents=True, exist_ok=True)
    file = place / f"{name}.json"
    file.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    return file


def read(name: str, place: Path) -> dict[str, Any] | None:
    """None when the case was never run."""
    file = place / f"{name}.json"
    if not file.exists():
        return None
    found: dict[str, Any] = json.loads(file.read_text())
    return found
