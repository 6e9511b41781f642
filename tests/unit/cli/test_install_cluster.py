"""`install --cluster`: the account of a daemon in a namespace, for kubectl, and nothing on this host."""

import importlib
import json
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from reconciler.cli.main import group

GROUPS = {
    "", "apps", "autoscaling", "batch", "gateway.networking.k8s.io", "metrics.k8s.io", "networking.k8s.io", "policy",
}  # fmt: skip


def install(*words: str) -> Result:
    return CliRunner().invoke(group, ["install", *words])


def test_the_account_is_printed_for_its_namespace_alone_and_valid() -> None:
    done = install("--cluster", "web")
    assert done.exit_code == 0, done.output
    made: list[Any] = list(yaml.safe_load_all(done.stdout))
    assert [each["kind"] for each in made] == ["ServiceAccount", "Role", "RoleBinding"]
    assert {each["metadata"]["namespace"] for each in made} == {"web"}
    kubernetes_validate: Any = importlib.import_module("kubernetes_validate")
    for version in ("1.25", "1.37"):
        for each in made:
            kubernetes_validate.validate(each, version, strict=True)
    _, role, binding = made
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert {each for rule in role["rules"] for each in rule["apiGroups"]} == GROUPS
    assert not [rule for rule in role["rules"] if "*" in (*rule["verbs"], *rule["resources"], *rule["apiGroups"])]
    assert "kubectl --namespace web create token reconciler" in done.stderr


def test_it_is_json_where_that_is_asked_for() -> None:
    assert json.loads(install("--cluster", "web", "--json").stdout)["kind"] == "List"


@pytest.mark.parametrize("namespace", ["Web", "a/b", "", "-web", "web\n"])
def test_what_is_no_name_of_a_namespace_is_refused(namespace: str) -> None:
    done = install("--cluster", namespace)
    assert done.exit_code == 2
    assert "expected the name of a namespace" in done.stderr
