"""Run as a script by the daemon's interpreter, `python -I -S main.py SETTINGS`, as an instance of an app.

The app's listener is descriptor 3; the sandbox is applied before anything else.
"""

import os
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.append(str(Path(__file__).resolve().parents[3]))
    from reconciler.serving.launcher import enter, take_on

    enter(take_on(os.environ))
    from reconciler.serving.forwarder.instance import main

    main(sys.argv[1:], os.environ)
