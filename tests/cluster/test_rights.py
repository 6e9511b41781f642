"""What an account may do in a real cluster: rights that are withdrawn, and a token that ends and is renewed."""

from typing import Any

import pytest
import yaml

from tests.cluster.grounds import Place
from tests.cluster.test_trouble import granted, of_ours
from tests.support.eventually import eventually
from tests.tools.kube import MERGE

pytestmark = pytest.mark.network

_RBAC = "apis/rbac.authorization.k8s.io/v1"
_WITHIN_S = 240.0


def events(place: Place, name: str) -> str:
    return "\n".join(text for _, _, text in place.site.events(name))


def told(place: Place, name: str, words: str) -> bool:
    """Whether `status` or the events of an app have these words."""
    found = events(place, name)
    known = [row["message"] for row in place.site.status()["apps"] if row["name"] == name]
    assert words in found or any(words in each for each in known), (known, found[-500:])
    return True


def test_rights_to_read_make_and_delete_that_are_withdrawn_are_told_and_nothing_is_torn_down(place: Place) -> None:
    engine = of_ours(place)
    config = engine.config_of_user(place.site.root)
    role = granted(place)
    where = place.path("roles", role["metadata"]["name"], _RBAC)

    def without(verb: str) -> None:
        less = [{**rule, "verbs": [each for each in rule["verbs"] if each != verb]} for rule in role["rules"]]
        place.kube.ask("PATCH", where, {"rules": less}, MERGE)

    place.app("shop")
    place.site.start(*place.options(config))
    place.until("running")
    for verb, name in (("get", "blog"), ("create", "shelf")):
        without(verb)
        place.app(name)
        eventually(lambda verb=verb, name=name: told(place, name, f"cannot {verb}"), _WITHIN_S)  # type: ignore[misc]
        print(place.site.told(name)["message"])
        assert place.answer() == "1"
        place.kube.ask("PATCH", where, {"rules": role["rules"]}, MERGE)
        place.until("running", name)
    without("delete")
    (place.site.manifests / "blog.yaml").unlink()
    eventually(lambda: told(place, "blog", "cannot delete"), _WITHIN_S)
    print(events(place, "blog").splitlines()[-1])
    assert len(place.pods("blog")) == len(place.pods()) == 1
    place.kube.ask("PATCH", where, {"rules": role["rules"]}, MERGE)
    eventually(lambda: place.pods("blog") == [], _WITHIN_S)
    assert place.answer() == "1"


def account(place: Place) -> str:
    """Make the account anew; return a token of it. Those of the one before end with that."""
    path, name = place.path("serviceaccounts"), "daemon"
    if name in place.kube.names(path):
        place.kube.ask("DELETE", f"{path}/{name}")
    place.kube.ask("POST", path, {"metadata": {"name": name}})
    asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}}
    made: Any = place.kube.ask("POST", f"{path}/{name}/token", asked)
    return str(made["status"]["token"])


def test_a_token_that_ends_is_told_and_the_renewed_one_in_its_file_is_in_use(place: Place) -> None:
    of_ours(place)
    role = granted(place)
    binding = {
        "metadata": {"name": "account"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role["metadata"]["name"]},
        "subjects": [{"kind": "ServiceAccount", "name": "daemon", "namespace": place.namespace}],
    }
    place.kube.ask("POST", place.path("rolebindings", group=_RBAC), binding)
    file, config = place.site.root / "token", place.site.root / "kubeconfig"
    known = yaml.safe_load(place.kube.config.read_text())
    known["users"][0]["user"] = {"tokenFile": str(file)}
    for each in known["clusters"]:  # whose authority may be named beside the file
        if "certificate-authority" in each["cluster"]:
            each["cluster"]["certificate-authority"] = str(
                place.kube.config.parent / each["cluster"]["certificate-authority"]
            )
    config.write_text(yaml.safe_dump(known))
    file.write_text(account(place))
    place.app("shop")
    place.site.start(*place.options(config))
    place.until("running")

    renewed = account(place)
    place.site.source("shop", "2")
    eventually(lambda: told(place, "shop", "Unauthorized"), _WITHIN_S)
    print(place.site.told("shop")["message"])
    assert place.answer() == "1"
    place.site.save(file, renewed)
    place.answers("2")
    place.until("running")
