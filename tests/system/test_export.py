"""An app as its export says it, in the image of the same manifest: it is ready, serves, runs its commands, and ends."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.eventually import eventually
from tests.support.images import a_base
from tests.support.kubelets import Container, secrets_in
from tests.support.ports import a_port
from tests.support.site import REPOSITORY, Site
from tests.support.web import fetch
from tests.system.test_image import image, unpacked

pytestmark = pytest.mark.system


def exported(site: Site, digest: str, *words: str) -> list[dict[str, Any]]:
    said = ["--image", f"registry.example.com/web/shop@{digest}", "--format", "json", "--secrets", "include"]
    done = subprocess.run(
        [sys.executable, "-m", "reconciler", "export", "shop", *said, *words, "--manifests", str(site.manifests)],
        capture_output=True, text=True, cwd=REPOSITORY, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)["items"]
    return found


def test_what_an_export_says_runs_in_the_image_of_the_same_manifest(site: Site, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (site.manifests / "key").write_text("hunter2\n")
    (site.manifests / "shop.env").write_text("FROM_LIST=yes\n")
    site.manifest(
        "shop",
        workers=2,
        env={"PRICE": "$$5 and $(PRICE)", "KEY": {"file": "key"}, "TOKEN": "hunter3"},
        env_files=["shop.env"],
        release=f"echo released $KEY > {out}",
        processes={"worker": {"command": f"sh -c 'echo $1 $2 > {out}' - $KEY ${{NONE:-none}}"}},
        schedules={"cleanup": {"command": ["sh", "-c", f"echo $PRICE > {out}; exit 7"], "every": "1h"}},
        stop_timeout="20s",
    )
    site.source("shop")
    a_base(tmp_path / "base", *(f"3.{minor}" for minor in range(8, 30)))
    made = image(site, site.state, tmp_path / "image", tmp_path / "base")
    objects = exported(site, made["image"], "--drain", "1s")
    assert "hunter" not in json.dumps([each for each in objects if each["kind"] != "Secret"])
    again = exported(site, made["image"], "--drain", "1s")
    assert again == objects

    root = tmp_path / "root"
    (interpreter,) = {link.resolve() for link in site.paths.environments.glob("*/bin/python")}
    config = unpacked(tmp_path / "image", made["image"], root, interpreter)["config"]
    entry = tuple(word.replace("/reconciler/", f"{root}/reconciler/") for word in config["Entrypoint"])
    port = a_port()

    def container(kind: str, name: str) -> Container:
        (of,) = [each for each in objects if each["kind"] == kind and each["metadata"]["name"].startswith(name)][:1]
        pod = of["spec"]["jobTemplate"]["spec"] if kind == "CronJob" else of["spec"]
        (spec,) = pod["template"]["spec"]["containers"]
        assert spec["image"].endswith(made["image"])
        base = {"PATH": os.environ["PATH"]}
        return Container(spec=spec, root=root, entry=entry, base=base, secrets=secrets_in(objects))

    def ran(kind: str, name: str) -> tuple[int, str]:
        with (tmp_path / "log").open("w") as log, container(kind, name).start(log) as program:
            code = program.wait(120)
        return code, out.read_text() if out.exists() else (tmp_path / "log").read_text()

    assert ran("Job", "shop-release") == (0, "released hunter2\n")
    assert ran("Deployment", "shop-worker") == (0, "hunter2 none\n")
    assert ran("CronJob", "shop-cleanup") == (7, "$$5 and $(PRICE)\n")

    web = container("Deployment", "shop")
    assert web.variables["PORT"] == "8000"
    ports = [{**each, "value": str(port)} if each["name"] == "PORT" else each for each in web.spec["env"]]
    web = Container(spec={**web.spec, "env": ports}, root=root, entry=entry, base=web.base, secrets=web.secrets)
    ready = web.spec["startupProbe"]["exec"]["command"]
    assert web.execute(ready) == 1
    with (tmp_path / "log").open("w") as log, web.start(log) as program:
        try:
            eventually(lambda: web.execute(ready) == 0, within=120)
            held = fetch(port, "/env").json
            assert (held["PRICE"], held["KEY"], held["TOKEN"]) == ("$$5 and $(PRICE)", "hunter2", "hunter3")
            assert held["FROM_LIST"] == "yes"
            assert web.execute(web.spec["lifecycle"]["preStop"]["exec"]["command"]) == 0
            assert fetch(port, "/").status == 200  # it serves on for as long as requests may be sent to it
            program.send_signal(signal.SIGTERM)
            assert program.wait(120) == 0
        except BaseException:
            print((tmp_path / "log").read_text())
            raise
        finally:
            program.kill()


def test_credentials_of_services_are_those_that_the_daemon_has(site: Site) -> None:
    (site.manifests / "secret").write_text("hunter2")
    address = {"host": "mail.example.com", "uri": "postgresql://u@mail.example.com/x"}
    credentials = {**address, "password": {"file": "secret"}}
    service = {"kind": "service", "name": "mail", "type": "user-provided", "credentials": credentials}
    site.save(site.manifests / "mail.yaml", json.dumps(service))
    site.app("shop", services=[{"name": "mail", "binding_name": "smtp.out"}])
    site.start()
    eventually(lambda: site.settled("shop"), within=120)
    digest = f"sha256:{'a' * 64}"
    objects = exported(site, digest, "--state", str(site.state))
    secrets = secrets_in(objects)
    (vcap,) = [data for name, data in secrets.items() if name.startswith("shop-vcap-")]
    (entry,) = json.loads(vcap["VCAP_SERVICES"])["user-provided"]
    assert (entry["name"], entry["credentials"]["password"]) == ("smtp.out", "hunter2")
    assert vcap["DATABASE_URL"] == "postgresql://u@mail.example.com/x"
    (binding,) = [data for name, data in secrets.items() if name.startswith("shop-binding-smtp-out-")]
    assert (binding["host"], binding["password"], binding["type"]) == ("mail.example.com", "hunter2", "user-provided")
    (pod,) = [each["spec"]["template"]["spec"] for each in objects if each["kind"] == "Deployment"]
    mounts = {each["mountPath"] for each in pod["containers"][0]["volumeMounts"]}
    assert mounts == {"/tmp", "/services", "/bindings/smtp.out"}
    assert "hunter2" not in json.dumps([each for each in objects if each["kind"] != "Secret"])
