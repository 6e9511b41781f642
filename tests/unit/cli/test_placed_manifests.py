"""What a cluster would refuse of a manifest: `validate` and `plan` say it with line and remedy, and ask no cluster."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from reconciler.cli.main import group

NO_INGRESS = "no Ingress says it in a way that every controller heeds: use 'clusters.prod.route.gateway', or remove it"
HEALTHY = {"place": "prod", "health": {"path": "/"}}


@pytest.fixture
def host(tmp_path: Path) -> Path:
    (tmp_path / "manifests").mkdir()
    prod = {
        "kubeconfig": "nowhere",  # no cluster is asked
        "namespace": "web",
        "registry": "registry.example.com/web",
        "route": {"ingress_class": "traefik"},
    }
    (tmp_path / "host.yaml").write_text(json.dumps({"clusters": {"prod": prod}}))
    return tmp_path


def write(host: Path, name: str, **fields: Any) -> None:
    (host / "source").mkdir(exist_ok=True)
    (host / "source" / "wsgi.py").write_text("def application(environ, start_response): ...\n")
    written = yaml.safe_dump({"path": "../source", "entrypoint": "wsgi:application", **fields}, sort_keys=False)
    (host / "manifests" / f"{name}.yaml").write_text(written)


def run(host: Path, *words: str, settings: bool = True) -> Result:
    place = ["--manifests", str(host / "manifests"), "--state", str(host / "state")]
    where = ["--settings", str(host / "host.yaml")] if settings else []
    return CliRunner().invoke(group, [*words, *place, *where])


def said(done: Result, host: Path) -> list[str]:
    start = f"{host / 'manifests'}/"
    return [line.removeprefix(start) for line in done.stdout.splitlines() if line.startswith(start)]


def test_what_no_pod_can_have_is_refused_before_anything_is_applied(host: Path) -> None:
    write(host, "shop", **HEALTHY, patience="10s", redirects=["www.example.com"], domains=["example.com"])
    write(host, "blog", **HEALTHY)
    done = run(host, "validate")
    assert done.exit_code == 1
    assert said(done, host) == [
        "shop.yaml:6:1: patience: a Service holds no connection while no pod is ready: remove it",
        f"shop.yaml:7:1: redirects: {NO_INGRESS}",
    ]
    planned = run(host, "plan")
    assert planned.exit_code == 1
    assert f"refused: {host / 'manifests'}/shop.yaml:6:1: patience: a Service" in planned.stdout
    (host / "manifests" / "shop.yaml").unlink()
    assert run(host, "validate").exit_code == 0


def test_a_plan_says_what_follows_in_the_cluster_without_asking_it(host: Path) -> None:
    write(host, "shop", **HEALTHY)
    write(host, "blog")
    planned = run(host, "plan")
    assert planned.exit_code == 2
    (line,) = [line for line in planned.stdout.splitlines() if line.startswith("shop/")]
    assert line.startswith("shop/prod: push its image, and apply what differs — revision ")
    assert "blog/" not in planned.stdout


def test_without_the_settings_all_that_every_cluster_would_refuse_is_said(host: Path) -> None:
    write(host, "shop", **HEALTHY, patience="10s", domains=["example.com"], redirects=["www.example.com"])
    done = run(host, "validate", settings=False)
    assert said(done, host) == [
        "shop.yaml:3:8: place: no cluster is named 'prod'; 'clusters' of the host's settings has none",
        "shop.yaml:6:1: patience: a Service holds no connection while no pod is ready: remove it",
    ]


def test_a_service_that_no_pod_reaches_is_refused_where_it_is_bound(host: Path) -> None:
    write(host, "shop", **HEALTHY, services=["db"])
    (host / "manifests" / "db.yaml").write_text("kind: service\nname: db\ntype: sqlite\n")
    (refused,) = said(run(host, "validate"), host)
    assert refused.startswith("shop.yaml:7:3: services[0]: is a file on this host (sqlite): bind a service of a server")


def test_two_apps_that_would_have_one_object_are_told_of_in_one_cluster_alone(host: Path) -> None:
    write(host, "shop", **HEALTHY, processes={"worker": "python w.py"})
    write(host, "shop-worker", **HEALTHY)
    done = run(host, "validate")
    assert done.exit_code == 1
    (refused,) = said(done, host)
    assert "shop-worker and shop would both have the Deployment shop-worker: rename one" in refused
    write(host, "shop-worker")
    assert run(host, "validate").exit_code == 0


def test_a_host_without_placed_apps_imports_nothing_of_clusters(host: Path) -> None:
    import subprocess
    import sys

    write(host, "shop")
    words = ["validate", "--manifests", str(host / "manifests"), "--state", str(host / "state")]
    code = (
        "import sys; from reconciler.__main__ import main\n"
        f"try: main({words!r})\nexcept SystemExit: pass\n"
        "print(*[each for each in sys.modules if each.startswith('reconciler.cluster')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == ""
