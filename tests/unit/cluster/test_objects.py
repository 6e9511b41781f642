"""What an app becomes in a cluster: it loses no request, shows no secret, and is the same each time."""

import json
from base64 import b64decode
from dataclasses import replace
from typing import Any

import pytest
import yaml

from reconciler.cluster.objects import claimed_twice, role
from reconciler.cluster.target import Target, Values
from reconciler.cluster.written import as_json, as_yaml
from reconciler.planning.scaling.instance_range import InstanceRange
from reconciler.planning.services.service import Service
from tests.support.exported import GATEWAY, INGRESS, TARGET, export, objects

WORKER = "Deployment/shop-worker"


def pod(made: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = made["spec"]["template"]["spec"]
    return found


def container(made: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = pod(made)["containers"][0]
    return found


def variables(made: dict[str, Any]) -> dict[str, Any]:
    return {each["name"]: each.get("value") or each.get("valueFrom") for each in container(made).get("env", [])}


def worker(**fields: Any) -> dict[str, Any]:
    found: dict[str, Any] = objects({"processes": {"worker": {"command": "python worker.py", **fields}}})[WORKER]
    return found


def test_a_list_of_networks_and_ports_is_an_egress_with_the_resolvers_and_names_are_refused() -> None:
    places = ["10.0.0.0/8:5432", "2001:db8::1", 443]
    policy = objects({"isolation": "strict", "network": {"connect": places}})["NetworkPolicy/shop"]
    both = ("TCP", "UDP")
    assert policy["spec"]["egress"] == [
        {"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}], "ports": [{"protocol": each, "port": 5432} for each in both]},
        {"to": [{"ipBlock": {"cidr": "2001:db8::1/128"}}]},
        {"ports": [{"protocol": each, "port": 443} for each in both]},
        {"ports": [{"protocol": each, "port": 53} for each in both]},
    ]
    (refusal,) = export({"isolation": "strict", "network": {"connect": ["db.internal:5432"]}}).refusals
    assert refusal.message == "a NetworkPolicy knows networks and ports alone: write those of db.internal"


def test_what_serves_ends_only_when_its_successor_is_ready_and_drains_first() -> None:
    fields = {"health": {"path": "/healthz", "start_timeout": "90s"}, "stop_timeout": "45s", "probation": "20s"}
    made = objects(fields, replace(TARGET, drain_s=7))["Deployment/shop"]
    spec = made["spec"]
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    assert (spec["minReadySeconds"], spec["progressDeadlineSeconds"]) == (20, 90 + 20 + 60)
    assert pod(made)["terminationGracePeriodSeconds"] == 7 + 45 + 5
    assert container(made)["lifecycle"]["preStop"]["exec"]["command"][-1] == "import time; time.sleep(7)"
    probe = container(made)["startupProbe"]
    assert (probe["httpGet"]["path"], probe["periodSeconds"] * probe["failureThreshold"]) == ("/healthz", 90)
    assert "livenessProbe" not in container(made)  # it would restart all pods at once when a database is down
    assert "lifecycle" not in container(objects({}, replace(TARGET, drain_s=0))["Deployment/shop"])


def test_without_a_health_path_a_pod_is_ready_once_its_workers_have_passed_their_gate() -> None:
    made = container(objects({})["Deployment/shop"])
    assert made["startupProbe"]["exec"]["command"][-1] == "/reconciler/run/ready.py"
    assert made["readinessProbe"]["tcpSocket"] == {"port": "http"}


def test_pods_are_admitted_where_nothing_but_the_restricted_is() -> None:
    fields = {
        "release": "true",
        "processes": {"worker": "python w.py"},
        "schedules": {"s": {"command": "a", "every": "1h"}},
    }
    for made in objects(fields).values():
        if made["kind"] not in {"Deployment", "Job", "CronJob"}:
            continue
        of = made["spec"]["jobTemplate"] if made["kind"] == "CronJob" else made
        security, inside = pod(of)["securityContext"], container(of)["securityContext"]
        assert (security["runAsNonRoot"], security["runAsUser"], security["runAsGroup"]) == (True, 65532, 65532)
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert (inside["allowPrivilegeEscalation"], inside["capabilities"]) == (False, {"drop": ["ALL"]})
        assert inside["readOnlyRootFilesystem"] is True
        assert {"name": "tmp", "mountPath": "/tmp"} in container(of)["volumeMounts"]
        assert pod(of)["automountServiceAccountToken"] is pod(of)["enableServiceLinks"] is False


def test_every_port_names_its_protocol_and_the_manifests_port_is_the_services() -> None:
    found = objects({"port": 8080})
    (port,) = found["Service/shop"]["spec"]["ports"]
    assert port == {"name": "http", "port": 8080, "protocol": "TCP", "targetPort": "http"}
    assert container(found["Deployment/shop"])["ports"] == [{"name": "http", "containerPort": 8000, "protocol": "TCP"}]
    assert objects({})["Service/shop"]["spec"]["ports"][0]["port"] == 80


def test_no_secret_is_in_the_objects_unless_it_is_asked_for() -> None:
    fields = {
        "env": {"TOKEN": "hunter2", "URL": "redis://u:hunter2@cache", "KEY": {"file": "key"}, "COLOUR": "red"},
        "services": ["db"],
    }
    values = Values(
        env={"KEY": "hunter2"}, vcap='{"postgresql": "hunter2"}', database_url="postgresql://u:hunter2@db/x",
        files={"db": {"password": "hunter2"}},
    )  # fmt: skip
    for known in (None, values):
        assert "hunter2" not in json.dumps([*objects(fields, values=known).values()])
    assert "hunter2" not in repr(export(fields, values=values, with_secrets=True))
    found = objects(fields, values=values, with_secrets=True)
    secrets = {name: made for name, made in found.items() if made["kind"] == "Secret"}
    assert all(made["immutable"] for made in secrets.values())
    (env,) = [made for name, made in secrets.items() if name.startswith("Secret/shop-env-")]
    assert {key: b64decode(text).decode() for key, text in env["data"].items()} == {
        "KEY": "hunter2", "TOKEN": "hunter2", "URL": "redis://u:hunter2@cache",
    }  # fmt: skip
    binding = next(made for made in secrets.values() if made["type"] == "servicebinding.io/postgresql")
    named = {
        volume["secret"]["secretName"] for volume in pod(found["Deployment/shop"])["volumes"] if "secret" in volume
    }
    assert binding["metadata"]["name"] in named
    given = variables(found["Deployment/shop"])
    assert given["COLOUR"] == "red"
    assert given["TOKEN"] == {"secretKeyRef": {"name": env["metadata"]["name"], "key": "TOKEN"}}


def test_a_changed_secret_has_another_name_so_that_pods_are_replaced() -> None:
    def name(value: str, *, with_secrets: bool) -> Any:
        values = Values(env={"KEY": value})
        made = objects({"env": {"KEY": {"file": "k"}}}, values=values, with_secrets=with_secrets)
        return variables(made["Deployment/shop"])["KEY"]["secretKeyRef"]["name"]

    assert name("a", with_secrets=True) == name("a", with_secrets=False) != name("b", with_secrets=True)
    without = objects({"env": {"KEY": {"file": "k"}}})["Deployment/shop"]
    assert variables(without)["KEY"]["secretKeyRef"]["name"] == "shop-env"


def test_what_secrets_have_to_hold_is_said_where_they_are_not_written() -> None:
    fields = {"env": {"KEY": {"file": "k"}, "TOKEN": "t"}, "env_files": ["a.env"], "services": ["db", "mail"]}
    missing = {each.name: each.keys for each in export(fields).missing}
    assert missing == {
        "shop-binding-db": (), "shop-binding-mail": (), "shop-env": ("KEY", "TOKEN"), "shop-env-files": (),
        "shop-vcap": ("DATABASE_URL", "VCAP_SERVICES"),
    }  # fmt: skip
    may_be = variables(objects({"services": ["mail"]})["Deployment/shop"])["DATABASE_URL"]
    assert may_be["secretKeyRef"]["optional"] is True


def test_services_too_long_for_a_variable_are_in_a_file_alone_and_too_large_ones_are_refused() -> None:
    def given(size: int) -> Any:
        return export({"services": ["db"]}, values=Values(vcap="x" * size, files={"db": {}}))

    made = next(each for each in given(200_000).objects if each["kind"] == "Deployment")
    assert "VCAP_SERVICES" not in variables(made)
    assert variables(made)["VCAP_SERVICES_FILE_PATH"] == "/services/vcap_services.json"
    (refusal,) = given((1 << 20) + 1).refusals
    assert "larger than 1 MiB" in refusal.message
    assert not given((1 << 20) - 100).refusals


def test_variables_of_files_of_many_count_more_than_those_of_services() -> None:
    made = container(objects({"services": ["db"], "env_files": ["a.env"]})["Deployment/shop"])
    assert [each["secretRef"]["name"] for each in made["envFrom"]] == ["shop-vcap", "shop-env-files"]
    assert not {"DATABASE_URL", "VCAP_SERVICES"} & {each["name"] for each in made["env"]}
    many = {"domains": [f"d{number}.example.com" for number in range(17)]}
    assert [each.path for each in export(many, GATEWAY).refusals] == ["domains"]
    assert not export(many, INGRESS).refusals


def test_the_kubelet_reads_texts_of_the_manifest_as_they_are_written() -> None:
    fields = {"env": {"A": "$$5 and $(HOME)"}, "processes": {"worker": "python w.py $HOSTNAME '$(not)'"}}
    found = objects(fields)
    assert variables(found["Deployment/shop"])["A"] == "$$$$5 and $$(HOME)"
    assert container(found[WORKER])["args"] == ["--expand", "python", "w.py", "$$HOSTNAME", "$$$$(not)"]


def test_a_process_that_is_single_is_never_beside_its_successor() -> None:
    assert objects({"processes": {"beat": "celery -A shop beat"}})["Deployment/shop-beat"]["spec"]["strategy"] == {
        "type": "Recreate"
    }
    assert worker(count=7)["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": "25%", "maxUnavailable": 0}
    assert "processes.beat" in [note.path for note in export({"processes": {"beat": "celery -A shop beat"}}).notes]


@pytest.mark.parametrize(
    ("fields", "stop", "grace_s"),
    [
        ({"stop_timeout": "15m"}, None, 905),
        ({"stop": ["INT", "20s", "QUIT", "5s"]}, ["INT", "20", "QUIT", "5"], 30),
        ({"command": "celery -A shop worker", "stop_timeout": "1m"}, ["TERM", "60", "QUIT", "10"], 75),
    ],
)
def test_a_process_gets_the_signals_of_its_manifest(fields: dict[str, Any], stop: Any, grace_s: int) -> None:
    made = worker(**fields)
    hook = container(made).get("lifecycle")
    assert (hook and hook["preStop"]["exec"]["command"][3:]) == stop
    assert pod(made)["terminationGracePeriodSeconds"] == grace_s
    assert pod(made)["shareProcessNamespace"] is True  # or a signal that it does not handle would not end it


def test_a_stopped_app_has_no_pods_and_nothing_that_would_start_some() -> None:
    fields = {"state": "stopped", "limits": {"cpu": 1}, "processes": {"worker": "w"},
        "schedules": {"s": {"command": "a", "every": "1h"}}}  # fmt: skip
    found = objects(fields, replace(TARGET, instances=InstanceRange(least=2, most=4)))
    assert found["Deployment/shop"]["spec"]["replicas"] == found[WORKER]["spec"]["replicas"] == 0
    assert found["CronJob/shop-s"]["spec"]["suspend"] is True
    assert not [name for name in found if name.startswith(("Horizontal", "PodDisruption"))]


def test_several_pods_have_a_budget_and_the_number_is_left_to_what_scales_them() -> None:
    found = objects({"limits": {"cpu": 1}}, replace(TARGET, instances=InstanceRange(least=2, most=6, cpu=60)))
    assert "replicas" not in found["Deployment/shop"]["spec"]
    scaler = found["HorizontalPodAutoscaler/shop"]["spec"]
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (2, 6)
    assert scaler["metrics"][0]["resource"]["target"]["averageUtilization"] == 60
    assert found["PodDisruptionBudget/shop"]["spec"]["maxUnavailable"] == 1
    assert "PodDisruptionBudget/shop" not in objects({})
    (refusal,) = export({}, replace(TARGET, instances=InstanceRange(least=2, most=6))).refusals
    assert "limits.cpu" in refusal.message


def test_the_number_of_pods_is_that_of_the_manifest_unless_the_export_says_another() -> None:
    assert objects({"instances": 3})["Deployment/shop"]["spec"]["replicas"] == 3
    assert "PodDisruptionBudget/shop" in objects({"instances": 3})
    fields = {"instances": {"max": 8, "cpu": 60}, "limits": {"cpu": 1}}
    scaler = objects(fields)["HorizontalPodAutoscaler/shop"]["spec"]
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (1, 8)
    told = objects(fields, replace(TARGET, instances=InstanceRange(least=2)))
    assert told["Deployment/shop"]["spec"]["replicas"] == 2
    (refusal,) = export({"instances": {"max": 8}}).refusals
    assert (refusal.path, refusal.line > 1) == ("instances", True)


def test_a_release_command_is_another_job_for_another_image_and_never_run_twice_by_itself() -> None:
    def job(fields: dict[str, Any], target: Target = TARGET) -> Any:
        return next(made for made in objects(fields, target).values() if made["kind"] == "Job")

    made = job({"release": "python manage.py migrate && echo $DONE"})
    assert made["spec"]["backoffLimit"] == 0
    assert container(made)["args"] == ["/bin/sh", "-c", "python manage.py migrate && echo $$DONE"]
    other = replace(TARGET, image=TARGET.image.replace("aaa", "bbb"))
    names = {job({"release": "a"})["metadata"]["name"], job({"release": "b"})["metadata"]["name"],
        job({"release": "a"}, other)["metadata"]["name"]}  # fmt: skip
    assert len(names) == 3
    assert made["metadata"]["labels"]["reconciler.dev/step"] == "first"
    assert objects({"release": "a"})["Deployment/shop"]["metadata"]["labels"]["reconciler.dev/step"] == "then"
    long = objects({"name": "s" * 63, "release": "a"})
    assert all(len(made["metadata"]["name"]) <= 63 for made in long.values())


def test_routes_lead_to_the_service_by_an_ingress_or_a_gateway() -> None:
    fields: dict[str, Any] = {"domains": ["shop.example.com"], "below": "/shop", "port": 8080}
    spec = objects(fields, INGRESS)["Ingress/shop"]["spec"]
    assert spec["ingressClassName"] == "traefik"
    assert spec["tls"] == [{"hosts": ["shop.example.com"], "secretName": "shop-tls"}]
    (path,) = spec["rules"][0]["http"]["paths"]
    assert (path["path"], path["pathType"], path["backend"]["service"]["port"]) == ("/shop", "Prefix", {"name": "http"})
    more = {**fields, "redirects": ["www.example.com"], "strip": True, "hsts": "1d"}
    assert {each.path for each in export(more, INGRESS).refusals} == {"redirects", "strip", "hsts"}
    found = objects(more, GATEWAY)
    (rule,) = found["HTTPRoute/shop"]["spec"]["rules"]
    assert rule["backendRefs"] == [{"name": "shop", "port": 8080}]
    assert [each["type"] for each in rule["filters"]] == [
        "URLRewrite", "RequestHeaderModifier", "ResponseHeaderModifier",
    ]  # fmt: skip
    redirect = found["HTTPRoute/shop-redirects"]["spec"]["rules"][0]["filters"][0]["requestRedirect"]
    assert redirect == {"hostname": "shop.example.com", "statusCode": 301}
    assert [note.path for note in export(fields).notes] == ["domains"]


@pytest.mark.parametrize(
    ("fields", "path", "says"),
    [
        ({"name": "2048"}, "name", "begins with a letter"),
        ({"workers": "auto"}, "workers", "give a number"),
        ({"state": "maintenance"}, "state", "stopped"),
        ({"health": {"path": "/", "interval": "1500ms"}}, "health.interval", "whole seconds"),
        (
            {"gunicorn": {"certfile": "/etc/ssl/a.pem", "keyfile": "/etc/ssl/b.pem"}},
            "gunicorn.certfile",
            "files of this",
        ),
        ({"processes": {"worker": 2}}, "processes.worker", "command"),
        ({"processes": {"w": {"command": "a", "ready": "notify"}}}, "processes.w.ready", "READY=1"),
        ({"processes": {"a_b": "x", "a-b": "y"}}, "processes.a_b", "rename"),
        ({"schedules": {"s": {"command": "a", "at": "0 0 L * *"}}}, "schedules.s.at", "no such times"),
        ({"schedules": {"s": {"command": "a", "every": "7m"}}}, "schedules.s.every", "'at'"),
        ({"schedules": {"s": {"command": "a", "every": "1h", "overlap": "queue"}}}, "schedules.s.overlap", "queue"),
        ({"schedules": {"s": {"command": "a", "every": "1h", "missed": "all"}}}, "schedules.s.missed", "one at most"),
        ({"schedules": {"s" * 50: {"command": "a", "every": "1h"}}}, f"schedules.{'s' * 50}", "shorten"),
    ],
)
def test_what_a_cluster_cannot_keep_is_refused_where_it_is_written(
    fields: dict[str, Any], path: str, says: str
) -> None:
    found = {each.path: each for each in export(fields).refusals}
    assert says in found[path].message
    assert found[path].line > 1


def test_a_service_that_pods_do_not_reach_is_refused() -> None:
    file = Service(name="db", manifest="/db.yaml", type="sqlite")
    (refusal,) = export({"services": ["db"]}, services=(file,)).refusals
    assert (refusal.path, "sqlite" in refusal.message) == ("services[0]", True)
    (refusal,) = export({"services": ["gone"]}).refusals
    assert (refusal.path, "no manifest defines gone" in refusal.message) == ("services[0]", True)
    for host in ("127.0.0.1", "localhost", "/run/postgresql", "::1"):
        values = Values(vcap="{}", files={"db": {"host": host}})
        assert [each.path for each in export({"services": ["db"]}, values=values).refusals] == ["services[0]"]


def test_a_field_may_be_left_out_of_an_export() -> None:
    refused = export({"idle_after": "10m", "patience": "10s"})
    assert {each.path for each in refused.refusals} == {"idle_after", "patience"}
    left = export({"idle_after": "10m", "patience": "10s"}, without=frozenset(("idle_after",)))
    assert [each.path for each in left.refusals] == ["patience"]


def test_the_same_manifest_gives_the_same_bytes_that_every_reader_takes_for_the_same() -> None:
    texts = {
        "A": "1e3",
        "B": "0o17",
        "C": "y",
        "D": "No",
        "E": "12:30:45",
        "F": "~",
        "G": "é\n: #",
        "H": "0x1F",
        "I": "",
    }
    fields = {"env": texts, "services": ["db"], "processes": {"worker": "w"}}
    made = [*objects(fields).values()]
    written = as_yaml(made)
    assert written == as_yaml([*objects({**fields, "env": dict(reversed(texts.items()))}).values()])
    assert [*yaml.safe_load_all(written)] == made == json.loads(as_json(made))["items"]
    assert 'value: "1e3"' in written
    assert 'value: "y"' in written
    assert "&id" not in written


def test_two_apps_never_have_one_object() -> None:
    shop = export({"processes": {"worker": "w"}}).objects
    other = export({"name": "shop-worker"}).objects
    ((app, sentence),) = claimed_twice({"shop": shop, "shop-worker": other})
    assert app == "shop-worker"
    assert "Deployment shop-worker" in sentence
    assert not [*claimed_twice({"shop": shop, "blog": export({"name": "blog"}).objects})]


def test_a_role_reaches_nothing_beyond_its_namespace() -> None:
    made: Any = role("web")
    assert (made["kind"], made["metadata"]["namespace"]) == ("Role", "web")
    assert "*" not in json.dumps(made)
    named = {resource for rule in made["rules"] for resource in rule["resources"]}
    assert not named & {"roles", "rolebindings", "namespaces", "serviceaccounts", "nodes"}
