"""An app `shop` that its manifest places in a cluster."""

import json
from pathlib import Path
from typing import Any

from tests.support.images import a_base
from tests.support.registries import ScriptedRegistry
from tests.support.site import Site


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
