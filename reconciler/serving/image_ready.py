"""Exit with 0 if the web server of a container is ready: its workers have passed their gate.

Run by the Python of the image, of 3.6 or newer; nothing of the daemon is imported here.
"""

import json
import sys
from pathlib import Path

if __name__ == "__main__":
    image = json.loads((Path(__file__).resolve().parent / "image.json").read_text(encoding="utf-8"))
    sys.exit(not list(Path(image["readiness"]).glob("*/serving")))
