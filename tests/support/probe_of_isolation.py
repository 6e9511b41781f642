"""Whether this host can give an app a view of its own, by trying."""

import os
import subprocess
import sys
from pathlib import Path

from reconciler.isolation.app_users import AppUsers
from reconciler.isolation.launching import confined
from reconciler.planning.isolation.confinement import Confinement, Proof, proof_of
from reconciler.state.paths import StatePaths

_SYSTEM = ("/usr", "/bin", "/lib", "/lib64", "/etc")


def proof_of_host(*, hidden: tuple[str, ...] = ("/etc/shadow", "/etc/gshadow", "/etc/ssh")) -> Proof:
    """Return what a program proves here that is confined and then does nothing; it says so on every host."""
    reading, writing = os.pipe()
    seen = Confinement(isolation="strict", visible=_SYSTEM, hidden=hidden, daemon=os.getpid())
    with os.fdopen(reading) as told:
        try:
            command = confined(("/bin/true",), seen, writing)
            done = subprocess.run(command, pass_fds=[writing], check=False, capture_output=True, timeout=60)
        finally:
            os.close(writing)
        proof = proof_of(told.read())
    assert proof is not None, f"a program that confines itself says nothing: {done.stderr.decode()}"
    return proof


def _no_mounts() -> str:
    words = ("unshare", *(() if os.geteuid() == 0 else ("--user",)), "--mount", "true")
    tried = subprocess.run(words, check=False, capture_output=True, timeout=60)
    return "" if tried.returncode == 0 else "no program has mounts of its own here"


_MAPS = """
import tempfile
from reconciler.linux.mapped_users import in_place_of_root, not_mapped
with tempfile.TemporaryDirectory() as directory:
    print("" if not_mapped((directory, "/etc"), in_place_of_root(79991, 79991)) else "maps")
"""


def _no_mapping() -> str:
    tried = subprocess.run([sys.executable, "-c", _MAPS], check=False, capture_output=True, timeout=60)
    return "" if tried.stdout.strip() == b"maps" else "no directory can be shown with other owners here"


LACKS = proof_of_host().missing.get("files", "")
# Landlock alone keeps files apart where a program gets no mounts; a user of its own, and a name for it, take both.
NO_MOUNTS = _no_mounts()
# Why apps get no users of their own from a daemon here, "" if they do.
NO_USERS = AppUsers(StatePaths(state=Path("/")), range(70_000, 80_000)).lacks()

# Why what builds apps gets no user of its own from a daemon here, "" if it does.
NO_BUILDER = NO_USERS or NO_MOUNTS or _no_mapping()

# An app that writes its user into a database that it shares, and answers with all that are in it.
SHARED_NOTES = """
import json, os, sqlite3

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    path = json.loads(os.environ["VCAP_SERVICES"])["sqlite"][0]["credentials"]["path"]
    with sqlite3.connect(path, timeout=10) as database:
        database.execute("CREATE TABLE IF NOT EXISTS seen (uid INTEGER)")
        database.execute("INSERT INTO seen VALUES (?)", (os.getuid(),))
        found = [uid for (uid,) in database.execute("SELECT DISTINCT uid FROM seen")]
    database.close()
    return [json.dumps({"uid": os.getuid(), "seen": sorted(found)}).encode()]
"""
