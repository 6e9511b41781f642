"""Become the runner of one task: a script, run as `python -I -S run.py`.

It is small, as a script is compiled each time; what it loads is compiled once.
"""

import sys

if __name__ == "__main__":
    sys.path.append(__file__.rpartition("/reconciler/")[0])
    from reconciler.tasks.runner import main

    sys.exit(main())
