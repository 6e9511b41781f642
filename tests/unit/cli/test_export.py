"""`reconciler export`: what it writes and says, and that it writes nothing where an app is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from reconciler.cli.main import group

DIGEST = f"sha256:{'a' * 64}"
IMAGE = f"registry.example.com/web/shop@{DIGEST}"


@pytest.fixture
def manifests(tmp_path: Path) -> Path:
    directory = tmp_path / "manifests"
    directory.mkdir()
    return directory


def export(manifests: Path, *words: str) -> Result:
    place = ["--manifests", str(manifests), "--state", str(manifests.parent / "state")]
    return CliRunner().invoke(group, ["export", *words, *place])


def write(manifests: Path, name: str, **fields: Any) -> None:
    (manifests / f"{name}.yaml").write_text(yaml.safe_dump({"path": "/apps/shop", **fields}))


def kinds(text: str) -> list[str]:
    return [made["kind"] for made in yaml.safe_load_all(text)]


def test_an_app_is_written_to_standard_output_and_what_differs_to_standard_error(manifests: Path) -> None:
    write(manifests, "shop", env={"KEY": {"file": "key"}}, release="true", domains=["shop.example.com"])
    done = export(manifests, "shop", "--image", IMAGE, "--namespace", "web", "--ingress-class", "traefik")
    assert done.exit_code == 0, done.stderr
    assert kinds(done.stdout) == ["Job", "Deployment", "Service", "Ingress"]
    assert {made["metadata"]["namespace"] for made in yaml.safe_load_all(done.stdout)} == {"web"}
    assert "shop.yaml:7:1: release: note: its Job" in done.stderr
    assert "to be made for shop: the Secret shop-env: KEY" in done.stderr
    assert export(manifests, "shop", "--image", IMAGE).stdout == export(manifests, "shop", "--image", IMAGE).stdout


def test_several_apps_are_written_into_a_directory_or_none_is(manifests: Path) -> None:
    write(manifests, "shop")
    write(manifests, "api", patience="10s")
    output = manifests.parent / "deploy"
    images = ("--image", f"shop={IMAGE}", "--image", f"api={IMAGE}", "--output", str(output))
    refused = export(manifests, "shop", "api", *images)
    assert refused.exit_code == 1
    assert "api.yaml:2:1: patience: " in refused.stderr
    assert "cannot export api; nothing is written" in refused.stderr
    assert not output.exists()
    done = export(manifests, "shop", "api", *images, "--without", "patience", "--instances", "api=3")
    assert done.exit_code == 0, done.stderr
    assert {file.name for file in output.iterdir()} == {"shop.yaml", "api.yaml"}
    (deployment,) = [m for m in yaml.safe_load_all((output / "api.yaml").read_text()) if m["kind"] == "Deployment"]
    assert deployment["spec"]["replicas"] == 3
    (other,) = [m for m in yaml.safe_load_all((output / "shop.yaml").read_text()) if m["kind"] == "Deployment"]
    assert other["spec"]["replicas"] == 1


def test_a_port_of_this_host_and_its_sockets_are_in_no_object(manifests: Path) -> None:
    write(manifests, "shop", domains=["shop.example.com"])
    done = export(manifests, "shop", "--image", IMAGE, "--format", "json")
    found = {made["kind"]: made for made in json.loads(done.stdout)["items"]}
    assert found["Service"]["spec"]["ports"][0]["port"] == 80
    assert str(manifests) not in done.stdout


def test_secrets_are_read_from_their_files_only_where_they_are_asked_for(manifests: Path) -> None:
    write(manifests, "shop", env={"KEY": {"file": "key"}}, env_files=["shop.env"])
    missing = export(manifests, "shop", "--image", IMAGE, "--secrets", "include")
    assert (missing.exit_code, missing.stdout) == (1, "")
    assert "cannot export the secrets of shop" in missing.stderr
    (manifests / "key").write_text("hunter2\n")
    (manifests / "shop.env").write_text("OTHER=hunter3\n")
    included = export(manifests, "shop", "--image", IMAGE, "--secrets", "include")
    secrets = [made for made in yaml.safe_load_all(included.stdout) if made["kind"] == "Secret"]
    assert {tuple(made["data"]) for made in secrets} == {("KEY",), ("OTHER",)}
    assert "to be made" not in included.stderr
    sealed = export(manifests, "shop", "--image", IMAGE, "--secrets", "sealed-names")
    assert "Secret" not in kinds(sealed.stdout)
    assert all(made["metadata"]["name"] in sealed.stdout for made in secrets)
    output = manifests.parent / "deploy"
    export(manifests, "shop", "--image", IMAGE, "--secrets", "include", "--output", str(output))
    assert (output / "shop.yaml").stat().st_mode & 0o777 == 0o600


def test_credentials_of_services_are_those_that_the_daemon_of_this_host_has(manifests: Path) -> None:
    write(manifests, "shop", services=["mail"])
    (manifests / "mail.yaml").write_text(
        "{kind: service, name: mail, type: user-provided, credentials: {host: mail.example.com}}"
    )
    assert export(manifests, "shop", "--image", IMAGE).exit_code == 0
    done = export(manifests, "shop", "--image", IMAGE, "--secrets", "include")
    assert done.exit_code != 0
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "give the name of an APP"),
        (("shop",), "shop needs --image"),
        (("shop", "--image", "registry.example.com/web/shop:1"), "by its digest"),
        (("shop", "--image", f"blog={IMAGE}"), "'blog' is no APP"),
        (("shop", "blog", "--image", IMAGE), "APP=IMAGE"),
        (("shop", "--image", IMAGE, "--instances", "3-2"), "expected 3 or 2-10"),
        (("shop", "--image", IMAGE, "--gateway", "a", "--ingress-class", "b"), "not both"),
        (("shop", "--image", IMAGE, "--drain", "500ms"), "whole seconds"),
        (("shop", "--image", IMAGE, "--namespace", "Web"), "lower-case"),
        (("shop", "--rbac"), "not both"),
    ],
)
def test_a_wrong_command_line_says_what_is_expected(manifests: Path, words: tuple[str, ...], says: str) -> None:
    write(manifests, "shop")
    write(manifests, "blog")
    done = export(manifests, *words)
    assert (done.exit_code, done.stdout) == (2, "")
    assert says in " ".join(done.stderr.split())


def test_no_app_and_a_manifest_with_errors_are_told(manifests: Path) -> None:
    write(manifests, "shop", workrs=2)
    done = export(manifests, "shop", "--image", IMAGE)
    assert (done.exit_code, done.stdout) == (1, "")
    assert "workrs" in done.stderr
    assert "describes an app named 'blog'" in export(manifests, "blog", "--image", IMAGE).stderr
    write(manifests, "shop")
    left = export(manifests, "shop", "--image", IMAGE, "--without", "canary")
    assert "no manifest sets canary" in left.stderr


def test_apps_are_chosen_by_patterns_or_all_of_them(manifests: Path) -> None:
    write(manifests, "shop")
    write(manifests, "shop-api")
    write(manifests, "blog")
    images = [word for name in ("shop", "shop-api", "blog") for word in ("--image", f"{name}={IMAGE}")]

    def deployments(*words: str) -> list[str]:
        done = export(manifests, *words)
        assert done.exit_code == 0, done.stderr
        found = yaml.safe_load_all(done.stdout)
        return [made["metadata"]["name"] for made in found if made["kind"] == "Deployment"]

    assert deployments("--all", *images) == ["blog", "shop", "shop-api"]
    assert deployments("shop*", *images[:4]) == ["shop", "shop-api"]


def test_a_role_is_written_without_an_app(manifests: Path) -> None:
    done = export(manifests, "--rbac", "--namespace", "web")
    assert (done.exit_code, kinds(done.stdout)) == (0, ["Role"])


def test_an_app_of_a_cluster_that_no_settings_name_is_exported_with_its_instances(manifests: Path) -> None:
    write(manifests, "shop", place="prod", instances=3)
    done = export(manifests, "shop", "--image", IMAGE)
    assert done.exit_code == 0, done.stderr
    (deployment,) = [made for made in yaml.safe_load_all(done.stdout) if made["kind"] == "Deployment"]
    assert deployment["spec"]["replicas"] == 3
    told = yaml.safe_load_all(export(manifests, "shop", "--image", IMAGE, "--instances", "2").stdout)
    assert [made["spec"]["replicas"] for made in told if made["kind"] == "Deployment"] == [2]
