"""A cluster as its administrator asks it, by whatever kubeconfig there is: with a token or a client certificate."""

import base64
import json
import ssl
import tempfile
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

MERGE = "application/merge-patch+json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kube:
    """A cluster whose administrator has this kubeconfig."""

    config: Path

    def ask(self, method: str, path: str, body: Any = None, kind: str = "application/json") -> Any:
        """Ask the API server, and return its answer; fails if it refuses."""
        told = yaml.safe_load(self.config.read_text())
        (context,) = [each["context"] for each in told["contexts"] if each["name"] == told["current-context"]]
        (cluster,) = [each["cluster"] for each in told["clusters"] if each["name"] == context["cluster"]]
        (user,) = [each["user"] for each in told["users"] if each["name"] == context["user"]]
        headers = {"Content-Type": kind}
        if token := user.get("token"):
            headers["Authorization"] = f"Bearer {token}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{cluster['server']}{path}", method=method, data=data, headers=headers)
        with urllib.request.urlopen(request, timeout=30, context=self._trust(cluster, user)) as answer:
            text = answer.read()
        return json.loads(text) if text.startswith(b"{") else text.decode()

    def names(self, path: str) -> list[str]:
        """Return the names of the objects at a path."""
        return sorted(each["metadata"]["name"] for each in self.ask("GET", path)["items"])

    def _trust(self, cluster: dict[str, Any], user: dict[str, Any]) -> ssl.SSLContext:
        with tempfile.TemporaryDirectory() as kept:
            trust = ssl.create_default_context(
                cafile=self._file(cluster, "certificate-authority", kept) or None,
            )
            if certificate := self._file(user, "client-certificate", kept):
                trust.load_cert_chain(certificate, self._file(user, "client-key", kept))
            return trust

    def _file(self, told: dict[str, Any], name: str, kept: str) -> str:
        if name in told:
            return str(self.config.parent / told[name])
        if f"{name}-data" not in told:
            return ""
        file = Path(kept) / name
        file.write_bytes(base64.b64decode(told[f"{name}-data"]))
        return str(file)
