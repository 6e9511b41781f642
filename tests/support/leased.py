"""Lease users of apps as a daemon does, or claim them as a warden does, and end.

python -m tests.support.leased STATE FIRST MANY APP… | python -m tests.support.leased warden FIRST MANY USER
"""

import sys
from pathlib import Path

from reconciler.isolation.app_users import AppUsers
from reconciler.isolation.user_claims import claim_for_warden
from reconciler.isolation.user_leases import leased_in
from reconciler.state.paths import StatePaths

if __name__ == "__main__":
    who, first, many, *words = sys.argv[1:]
    numbers = range(int(first), int(first) + int(many))
    if who == "warden":
        claim_for_warden(numbers, int(words[0]), int(words[0]), leased_in)
    else:
        users = AppUsers(StatePaths(state=Path(who)), numbers)
        for app in words:
            users.of(app)
