"""A scripted cluster with its registry, and an app `shop` that its manifest places there."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.images import a_base
from tests.support.kube_api import KubeApi, kube_api
from tests.support.registries import ScriptedRegistry, scripted_registry
from tests.support.site import Site


@pytest.fixture
def api() -> Iterator[KubeApi]:
    with kube_api() as api:
        yield api


@pytest.fixture
def registry() -> Iterator[ScriptedRegistry]:
    with scripted_registry() as registry:
        yield registry


def placed(site: Site, config: Path, registry: ScriptedRegistry, **fields: Any) -> list[str]:
    """Write the settings with a cluster, and an app that is placed there; return what starts the daemon."""
    minors = [f"3.{minor}" for minor in range(8, 30)]
    a_base(site.root / "base", *minors)
    prod = {
        "kubeconfig": str(config),
        "namespace": "web",
        "registry": f"127.0.0.1:{registry.port}/web",
        "plain_http": True,
        "bases": {f"python{minor}": str(site.root / "base") for minor in minors},
        **fields,
    }
    settings = site.root / "host.yaml"
    settings.write_text(json.dumps({"clusters": {"prod": prod}, "retry": {"first": "50ms", "cap": "200ms"}}))
    site.source("shop")
    site.manifest("shop", place="prod", probation="0s")
    return ["--settings", str(settings)]


def is_told(site: Site, state: str, reason: str = "", name: str = "shop") -> bool:
    """Whether `status` has an app in that state, and for that reason; fails with what it says else."""
    told = site.told(name)
    assert (told["state"], reason in {"", told["reason"]}) == (state, True), f"{told['state']}: {told['message']}"
    return True
