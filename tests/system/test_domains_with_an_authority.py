"""A certificate by ACME, from a Caddy that is the authority; ports 80 and 443 are those of a namespace of its own."""

import json
import os
import shutil
import subprocess
import sys
from typing import Any

import pytest

from tests.support.proxies import needs_caddy, newest_caddy
from tests.support.site import REPOSITORY, Site

pytestmark = [pytest.mark.system, pytest.mark.nightly, needs_caddy]

# In the namespace: the authority, the daemon, and what a client sees.
BEGIN = r"""
import json, os, pathlib, signal, socket, ssl, subprocess, sys, time

root, caddy = pathlib.Path(sys.argv[1]), sys.argv[2]
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
hosts = root / "hosts"
hosts.write_text("127.0.0.1 localhost ca.test shop.example.com late.example.com\n192.0.2.1 elsewhere.example.com\n")
subprocess.run(["mount", "--bind", str(hosts), "/etc/hosts"], check=True)
ca = root / "ca"
ca.mkdir()
(ca / "caddy.json").write_text(json.dumps({
    "admin": {"listen": "unix/admin.sock", "config": {"persist": False}},
    "storage": {"module": "file_system", "root": "data"},
    "apps": {
        "http": {"http_port": 9080, "https_port": 9443, "servers": {"ca": {
            "listen": [":9443"], "tls_connection_policies": [{}], "automatic_https": {"disable_redirects": True},
            "routes": [{"match": [{"host": ["ca.test"]}], "handle": [{
                "handler": "acme_server", "lifetime": os.environ["LIFETIME"],
                "policy": {"deny": {"domains": ["wrong.example.com"]}},
            }]}],
        }}},
        "tls": {"automation": {"policies": [{"subjects": ["ca.test"], "issuers": [{"module": "internal"}]}]}},
        "pki": {"certificate_authorities": {"local": {"install_trust": False}}},
    },
}))
said = {}
env = {**os.environ, **{name: str(ca) for name in ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME")}}
authority = subprocess.Popen([caddy, "run", "--config", "caddy.json"], cwd=ca, env=env, stderr=(ca / "log").open("wb"))
trusted = ca / "data/pki/authorities/local/root.crt"

def until(check, within=60):
    end = time.monotonic() + within
    while time.monotonic() < end:
        try:
            if found := check():
                return found
        except OSError:
            pass
        time.sleep(0.1)
    raise SystemExit("not in time: " + json.dumps(said))

def ask(name, port=443, tls=True):
    line = socket.create_connection(("127.0.0.1", port), 5)
    if tls:
        context = ssl.create_default_context(cafile=str(trusted))
        line = context.wrap_socket(line, server_hostname=name)
    line.settimeout(10)
    line.sendall(f"GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
    answer = b"".join(iter(lambda: line.recv(65536), b""))
    return int(answer.split()[1]), answer.rpartition(b"\r\n")[2].decode()

def status():
    done = subprocess.run([sys.executable, "-m", "reconciler", "domains", "--json", "--state", str(root / "state")],
                          capture_output=True, text=True)
    return {row["name"]: row for row in json.loads(done.stdout or "[]")}

def save(name, text):
    draft = root / f".{name}"
    draft.write_text(text)
    draft.rename(root / "manifests" / name)

until(trusted.exists)
(root / "host.yaml").write_text(
    f"proxy: {{run: true, program: {caddy}, email: ops@example.com, settle: 200ms,"
    f" ca: https://ca.test:9443/acme/local/directory, ca_root: {{file: {trusted}}}}}\n"
)
words = [sys.executable, "-m", "reconciler", "run", "--manifests", str(root / "manifests"), "--state",
         str(root / "state"), "--settings", str(root / "host.yaml")]
daemon = subprocess.Popen(words, stdout=(root / "console").open("wb"), stderr=subprocess.STDOUT)
"""
# Prints one JSON object.
END = r"""
finally:
    daemon.send_signal(signal.SIGTERM)
    daemon.wait(30)
    subprocess.run([sys.executable, "-m", "reconciler", "down", "--state", str(root / "state")], capture_output=True)
    authority.terminate()
    authority.wait(20)
print(json.dumps(said))
"""
STORY = r"""
try:
    save("shop.yaml", "path: ../apps/shop\ndomains: [shop.example.com]\n")
    said["served"] = until(lambda: (got := ask("shop.example.com"))[0] == 200 and got)
    said["plain"] = ask("shop.example.com", 80, tls=False)[0]
    # A page for maintenance is the app's own matter: the proxy still proves a name to the authority.
    save("late.yaml", "path: ../apps/shop\nname: late\ndomains: [late.example.com]\nstate: maintenance\n")
    said["maintenance"] = until(lambda: ask("late.example.com"))[0]
    # A name that the authority refuses is told with what it said, and the others are served on.
    save("wrong.yaml", "path: ../apps/shop\nname: wrong\ndomains: [wrong.example.com]\n")
    said["wrong"] = until(lambda: (row := status().get("wrong.example.com")) and row["state"] == "unserved"
                          and ":" in row["message"] and row["message"], 40)
    said["shop"] = ask("shop.example.com")[0]
    rows = until(lambda: (found := status()) and found["shop.example.com"]["state"] == "served" and found)
    said["issuer"] = rows["shop.example.com"]["issuer"]
    # A name that leads to another host, at which the authority looks for a while.
    save("elsewhere.yaml", "path: ../apps/shop\nname: elsewhere\ndomains: [elsewhere.example.com]\n")
    said["elsewhere"] = until(lambda: (row := status().get("elsewhere.example.com")) and row["state"] == "unserved"
                              and "192.0.2.1" in row["message"] and row["message"], 60)
    done = subprocess.run([sys.executable, "-m", "reconciler", "domains", "--check", "elsewhere.example.com", "--state",
                           str(root / "state")], capture_output=True, text=True)
    said["check"] = done.stdout
"""


# A certificate of five minutes, the shortest that this authority makes, which is renewed with a third of that left. All
# the while a client asks.
RENEWED = r"""
import threading

def certificate():
    with socket.create_connection(("127.0.0.1", 443), 5) as line:
        context = ssl.create_default_context(cafile=str(trusted))
        with context.wrap_socket(line, server_hostname="shop.example.com") as secure:
            found = secure.getpeercert()
            return found["serialNumber"], ssl.cert_time_to_seconds(found["notAfter"])

over, met = threading.Event(), {}

def client():
    while not over.wait(0.2):
        try:
            said = str(ask("shop.example.com")[0])
        except OSError as error:
            said = repr(error)
        met[said] = met.get(said, 0) + 1

try:
    save("shop.yaml", "path: ../apps/shop\ndomains: [shop.example.com]\nstate: maintenance\n")
    until(lambda: ask("shop.example.com")[0] == 503)
    first, ends_at = certificate()
    asking = threading.Thread(target=client)
    asking.start()
    try:
        until(lambda: (row := status().get("shop.example.com")) and row["state"] == "served")
        until(lambda: certificate()[0] != first, ends_at - time.time())
        renewed_ends_at = certificate()[1]
        said["renewed"] = renewed_ends_at - ends_at
        until(lambda: (row := status()["shop.example.com"])["state"] == "served" and row["ends_at"] == renewed_ends_at)
        time.sleep(max(0, ends_at - time.time() + 2))
        said["row"] = status()["shop.example.com"]["state"]
    finally:
        over.set()
        asking.join(30)
    said["met"] = met
"""


def may_unshare() -> bool:
    program = shutil.which("unshare")
    words = [str(program), "--net", "--mount", "true"]
    return program is not None and subprocess.run(words, capture_output=True, check=False, timeout=20).returncode == 0


@pytest.mark.skipif(not may_unshare(), reason="this user may make no network namespace")
def test_an_authority_certifies_a_name_also_while_its_app_is_in_maintenance_and_its_refusal_is_told(site: Site) -> None:
    said = told(site, STORY)
    assert said["served"][0] == 200
    assert said["plain"] == 308
    assert said["maintenance"] == 503
    assert "certificate" in said["wrong"]
    assert said["shop"] == 200
    assert "ECC Intermediate" in said["issuer"]
    assert said["elsewhere"].startswith("has no certificate yet")
    assert said["elsewhere"].endswith(", and DNS leads it to 192.0.2.1, which this host does not have")
    assert "warn  DNS: 192.0.2.1, none of which this host has" in said["check"]


@pytest.mark.skipif(not may_unshare(), reason="this user may make no network namespace")
def test_a_certificate_is_renewed_while_its_app_is_in_maintenance_and_status_has_the_new_one_before_the_old_has_ended(
    site: Site,
) -> None:
    said = told(site, RENEWED, lifetime="5m")
    assert said["renewed"] > 0
    assert said["row"] == "served"
    assert set(said["met"]) == {"503"}, said["met"]
    assert said["met"]["503"] > 100


def told(site: Site, story: str, lifetime: str = "12h") -> dict[str, Any]:
    """What a story prints that is told in a network namespace of its own."""
    site.source("shop", "one")
    script = site.root / "story.py"
    script.write_text(BEGIN + story + END)
    words = ["unshare", "--net", "--mount", sys.executable, str(script), str(site.root), newest_caddy()]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=600, cwd=REPOSITORY,
                          env={**os.environ, "LIFETIME": lifetime})  # fmt: skip
    console = site.root / "console"
    assert done.returncode == 0, f"{done.stderr}\n{console.read_text() if console.exists() else ''}"
    found: dict[str, Any] = json.loads(done.stdout)
    return found
