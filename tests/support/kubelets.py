"""Run what objects say of a container, as a kubelet does, in an image that is unpacked on this host."""

import re
import subprocess
import sys
from base64 import b64decode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

_REFERENCE = re.compile(r"\$(?:(\$)|\(([^)]*)\))")


def expanded(text: str, variables: Mapping[str, str]) -> str:
    """Return a text as a kubelet makes it of one: `$(NAME)` is a variable if there is one of that name, `$$` a dollar.

    See https://github.com/kubernetes/kubernetes/blob/master/third_party/forked/golang/expansion/expand.go.
    """
    return _REFERENCE.sub(lambda found: "$" if found[1] else variables.get(found[2], found[0]), text)


@dataclass(frozen=True, kw_only=True)
class Container:
    """The container of a pod, of an image below `root` with an entry point; `secrets` are the data of all Secrets."""

    spec: Mapping[str, Any]
    root: Path
    entry: tuple[str, ...]
    base: Mapping[str, str]
    secrets: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def variables(self) -> dict[str, str]:
        """The variables that it is given."""
        found = dict(self.base)
        for each in self.spec.get("envFrom", ()):
            found |= self.secrets[each["secretRef"]["name"]]
        for each in self.spec.get("env", ()):
            found[each["name"]] = self._value(each, found)
        return found

    def _value(self, given: Mapping[str, Any], before: Mapping[str, str]) -> str:
        if "value" in given:
            return expanded(given["value"], before)
        reference = given["valueFrom"]["secretKeyRef"]
        return self.secrets[reference["name"]][reference["key"]]

    def start(self, output: IO[str] | int) -> "subprocess.Popen[str]":
        """Start it."""
        words = [*self.entry, *(expanded(word, self.variables) for word in self.spec.get("args", ()))]
        return subprocess.Popen(
            words, env=self.variables, stdout=output, stderr=output, stdin=subprocess.DEVNULL, text=True
        )

    def execute(self, words: Iterable[str]) -> int:
        """Run a command in it, as a probe or a hook does; return its exit code."""
        here = [word.replace("/reconciler/", f"{self.root}/reconciler/") for word in words]
        return subprocess.run(here, env=self.variables, check=False, timeout=120, stdout=sys.stderr).returncode


def secrets_in(objects: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """Return the data of each Secret by its name."""
    return {
        made["metadata"]["name"]: {key: b64decode(value).decode() for key, value in made["data"].items()}
        for made in objects
        if made["kind"] == "Secret"
    }
