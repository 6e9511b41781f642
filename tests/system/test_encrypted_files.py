"""Secrets that age encrypted, in a real daemon: opened for the app alone, and on the disk nowhere else."""

import json
import subprocess
from pathlib import Path

import yaml

from tests.support.encryption import an_identity, encrypted
from tests.support.eventually import eventually
from tests.support.load import under_load
from tests.support.ports import a_port
from tests.support.repository import Repository
from tests.support.site import REPOSITORY, WSGI, Site, get


def settings(site: Site, **others: object) -> Path:
    file = site.root / "host.yaml"
    git = {"identities": [{"file": "age.txt"}, {"file": "new.txt"}], **others.pop("git", {})}  # type: ignore[dict-item]
    file.write_text(yaml.safe_dump({"git": git, **others}))
    return file


def cli(site: Site, *words: str, given: str) -> "subprocess.CompletedProcess[str]":
    command = site.command(*words)
    return subprocess.run(
        command, input=given, capture_output=True, text=True, cwd=REPOSITORY, timeout=120, check=False
    )


def given(port: int, *names: str) -> list[str]:
    found = json.loads(get(port, "/env"))
    return [found.get(name, "") for name in names]


def test_an_encrypted_file_is_the_apps_environment_and_stands_nowhere_else(site: Site) -> None:
    recipient = an_identity(site.root / "age.txt")
    secrets = [f"swordfish-{number}" for number in range(4711, 4715)]
    key, lines, shared = site.root / "key.age", site.root / "lines.age", site.root / "shared.age"
    key.write_bytes(encrypted(secrets[0], [recipient], armored=True))
    lines.write_bytes(encrypted(f"LINE={secrets[1]}\n", [recipient]))
    shared.write_bytes(encrypted(secrets[2], [recipient]))
    service = {
        "name": "mail",
        "kind": "service",
        "type": "user-provided",
        "credentials": {"password": {"file": str(shared)}},
    }
    site.save(site.manifests / "mail.yaml", yaml.safe_dump(service))
    port = site.app("shop", env={"KEY": {"file": str(key)}}, env_files=[str(lines)], services=["mail"])
    other = site.app("other")
    daemon = site.execute("--settings", str(settings(site)))
    eventually(site.serves("shop", "1", port), 60)
    eventually(site.serves("other", "1", other), 60)
    assert given(port, "KEY", "LINE") == secrets[:2]
    assert secrets[2] in given(port, "VCAP_SERVICES")[0]
    before, untouched = site.pid("shop"), site.pid("other")

    site.save(key, encrypted(secrets[0], [recipient]))  # encrypted anew: the same secret
    site.save(lines, encrypted(f"LINE={secrets[3]}\n", [recipient]))
    with under_load(port) as load:
        eventually(lambda: given(port, "KEY", "LINE") == [secrets[0], secrets[3]], 30)
        load.await_more(5)
    assert load.failed == {}
    site.await_settled("shop")
    assert site.pid("shop") != before
    after = site.pid("shop")
    site.save(key, encrypted(secrets[0], [recipient]))
    site.save(lines, lines.read_bytes()[:-3])  # cut short: the last values stay, and the other app is none the wiser
    eventually(lambda: "it is cut short" in site.told("shop")["message"], 30)
    assert (site.pid("shop"), site.pid("other")) == (after, untouched)
    assert site.told("other")["state"] == "running"
    assert given(port, "KEY", "LINE") == [secrets[0], secrets[3]]

    for command in (["status"], ["status", "--json"], ["events"], ["plan"], ["env", "shop"], ["doctor"]):
        told = site.cli(*command)
        assert not any(secret in told.stdout + told.stderr for secret in secrets), command
    found = [path for path in site.state.rglob("*") if path.is_file() and not path.is_symlink()]
    holding = {path.name for path in found if any(secret.encode() in path.read_bytes() for secret in secrets)}
    # What an instance of a bound app gets in files: VCAP_SERVICES and the binding, which are the app's own.
    assert holding <= {"vcap_services.json", "password"}
    for process in (daemon.pid, *site.marked()):
        assert not any(secret.encode() in Path(f"/proc/{process}/cmdline").read_bytes() for secret in secrets)
    environment = Path(f"/proc/{daemon.pid}/environ").read_bytes()
    assert not any(secret.encode() in environment for secret in secrets)


def test_an_app_waits_for_an_identity_and_starts_with_it(site: Site) -> None:
    an_identity(site.root / "age.txt")
    recipient = an_identity(site.root / "kept-elsewhere.txt")
    (site.root / "key.age").write_bytes(encrypted("swordfish", [recipient]))
    port = site.app("shop", env={"KEY": {"file": str(site.root / "key.age")}})
    file = settings(site)
    site.start("--settings", str(file))
    eventually(lambda: "which is not this host's" in site.told("shop")["message"], 60)
    told = site.cli("doctor", "--settings", str(file)).stdout
    assert "encrypted files" in told
    assert f"cannot open {site.root / 'key.age'}" in told
    (site.root / "kept-elsewhere.txt").rename(site.root / "new.txt")
    eventually(lambda: given(port, "KEY") == ["swordfish"], 60)
    assert "1 file can be opened" in site.cli("doctor", "--settings", str(file)).stdout


def test_a_secret_of_a_repository_is_opened_where_its_origin_may(site: Site) -> None:
    repository, recipient, port = Repository.at(site.root), an_identity(site.root / "age.txt"), a_port()
    manifest = {"path": "../../apps/shop", "env": {"KEY": {"file": "secrets/key.age"}}, "probation": "0s"}
    files: dict[str, str | bytes | None] = {
        "hosts/web1/shop.yaml": yaml.safe_dump(manifest),
        "hosts/web1/secrets/key.age": encrypted("swordfish", [recipient]),
        "apps/shop/wsgi.py": WSGI.replace("{version}", "1"),
    }
    repository.push(files)
    git = {"repositories": {"fleet": {"url": str(repository.bare), "signed": "no", "every": "1s"}}, "host": "web1"}
    origin = {"repository": "fleet", "branch": "main", "path": "hosts/{host}"}
    others = {"ports": {"first": port, "last": port}, "git": git}
    daemon = site.start("--settings", str(settings(site, **others, origins={"fleet": origin})))
    eventually(lambda: given(port, "KEY") == ["swordfish"], 60)
    repository.push({"hosts/web1/secrets/key.age": encrypted("marlin", [recipient])})
    eventually(lambda: given(port, "KEY") == ["marlin"], 60)
    site.end(daemon)
    closed = {"fleet": {**origin, "may": {"secrets": False}}}
    site.start("--settings", str(settings(site, **others, origins=closed)))
    eventually(lambda: "(may.secrets)" in site.told("shop")["message"], 60)
    assert given(port, "KEY") == ["marlin"]


def test_secrets_set_encrypts_to_the_recipients_of_the_settings(site: Site) -> None:
    recipient = an_identity(site.root / "age.txt")
    port = site.app("shop")
    file = settings(site, git={"recipients": [recipient]})
    site.start("--settings", str(file))
    eventually(site.serves("shop", "1", port), 60)
    done = cli(site, "secrets", "set", "shop", "KEY", "--settings", str(file), given="swordfish\n")
    written = site.manifests / "secrets" / "shop.KEY.age"
    assert f"wrote {written}, encrypted with age: it may be committed" in done.stdout, done.stderr
    assert written.read_bytes().startswith(b"-----BEGIN AGE ENCRYPTED FILE-----\n")
    eventually(lambda: given(port, "KEY") == ["swordfish"], 30)
    assert cli(site, "secrets", "set", "shop", "KEY", "--settings", str(file), given="marlin").returncode == 0
    eventually(lambda: given(port, "KEY") == ["marlin"], 30)
    assert b"AGE ENCRYPTED" in written.read_bytes()
    refused = cli(site, "secrets", "set", "shop", "KEY", "--settings", str(settings(site)), given="x")
    assert "the host's settings do not say to whom" in refused.stderr
    assert site.cli("secrets", "unset", "shop", "KEY", "--settings", str(file)).returncode == 0
    assert not written.exists()
