"""What public files of each kind say in ways of their own: the manifest has it, or the reader is told why not."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from reconciler.inspection.imports.dockerfile import dockerfile_commands
from reconciler.inspection.imports.importing import Imported, imported
from reconciler.inspection.imports.kinds import found_in

APP = "app = lambda environ, start_response: []\n"
FLASK = "from flask import Flask\napp = Flask(__name__)\n"
FASTAPI = "from fastapi import FastAPI\napp = FastAPI()\n"
NO_APP = "import http.server\nhttp.server.HTTPServer(('', 80), None).serve_forever()\n"


def read(directory: Path, files: dict[str, str], name: str | None = None) -> Imported:
    """Write files and import the named one, else what the directory has."""
    for file, text in files.items():
        (directory / file).parent.mkdir(parents=True, exist_ok=True)
        (directory / file).write_text(text)
    return imported(found_in(directory / name if name else directory)[:1], directory / "manifests")


def only(result: Imported) -> dict[str, Any]:
    assert result.problems == []
    documents = [yaml.safe_load(each.text) for each in result.manifests if each.kind == "app"]
    assert len(documents) == 1
    document: dict[str, Any] = documents[0]
    return document


def advice(result: Imported) -> dict[str, str]:
    """Return what is said of each part that is not taken over."""
    notes = [*result.notes, *(note for each in result.manifests for note in each.notes)]
    return {note.original: note.advice for note in notes}


# Cloud Foundry

WORKER = """\
applications:
- name: sender
  command: python sender.py
- name: receiver
  no-route: true
  health-check-type: process
  command: python receiver.py
"""


def test_a_manifest_that_is_indented_as_a_whole_is_recognised(tmp_path: Path) -> None:
    text = "  applications:\n  - name: shop\n    command: gunicorn shop:app\n"
    assert only(read(tmp_path, {"manifest.yml": text}))["entrypoint"] == "shop:app"


def test_an_app_without_a_route_is_no_web_app(tmp_path: Path) -> None:
    result = read(tmp_path, {"manifest.yml": WORKER, "sender.py": FLASK, "receiver.py": NO_APP})
    found = {each.name: yaml.safe_load(each.text) for each in result.manifests}
    assert found["sender"]["entrypoint"] == "sender:app"
    assert found["receiver"]["web"] is False


def test_a_service_has_the_type_of_the_label_that_is_declared_for_it(tmp_path: Path) -> None:
    text = (
        "declared-services:\n  everedis: {label: rediscloud, plan: 30mb}\n  docs: {label: mongodb}\n"
        "applications:\n- name: shop\n  command: gunicorn shop:app\n  services: [everedis, docs]\n"
    )
    result = read(tmp_path, {"manifest.yml": text})
    assert only(result)["services"] == ["everedis"]
    assert "user-provided" in advice(result)["services: docs"]


def test_what_only_the_platform_has_is_said(tmp_path: Path) -> None:
    text = (
        "applications:\n- name: ((app_name))\n  buildpacks: [apt_buildpack, python_buildpack]\n"
        "  command: gunicorn shop:app\n  env: {LIBRARIES: /home/vcap/app/lib}\n"
        "  processes:\n  - {type: web, memory: 1G}\n  - {type: worker, memory: 2G}\n"
    )
    said = advice(read(tmp_path, {"manifest.yml": text}))
    assert "variable of the push" in said["name: ((app_name))"]
    assert "install what this buildpack brings" in said["buildpacks: apt_buildpack"]
    assert "path of the platform" in said["LIBRARIES: /home/vcap/app/lib"]
    assert "set 'memory' in 'limits'" in said["memory: 1G"]
    assert "name it in 'processes'" in said["processes: type: worker, memory: 2G"]


# Commands


@pytest.mark.parametrize(("command", "file", "text", "entrypoint"), [
    ("python hello.py", "hello.py", FLASK, "hello:app"),
    ("flask --app shop run -h 0.0.0.0 -p $PORT", "shop.py", FLASK, "shop:app"),
    ("fastapi run src/main.py --port 3000", "src/main.py", FASTAPI, "main:app"),
    ("bash ./run.sh", "run.sh", "exec gunicorn shop:app\n", "shop:app"),
])  # fmt: skip
def test_the_app_that_a_command_starts_is_found_in_the_source(
    tmp_path: Path, command: str, file: str, text: str, entrypoint: str
) -> None:
    manifest = f"applications:\n- name: shop\n  command: {command}\n"
    assert only(read(tmp_path, {"manifest.yml": manifest, file: text}))["entrypoint"] == entrypoint


def test_a_file_that_runs_a_server_of_its_own_is_said_to(tmp_path: Path) -> None:
    manifest = "applications:\n- name: shop\n  command: python server.py\n"
    result = read(tmp_path, {"manifest.yml": manifest, "server.py": NO_APP})
    assert "entrypoint" not in only(result)
    assert "runs a server of its own" in advice(result)["python server.py"]


def test_the_address_of_a_platform_is_not_listened_on_by_any_server(tmp_path: Path) -> None:
    result = read(tmp_path, {"Procfile": "web: uvicorn shop:app --host 0.0.0.0 --port $PORT\n", "shop.py": APP})
    assert not {"host", "port"} & set(only(result))


def test_migrations_of_a_start_script_become_the_release_command(tmp_path: Path) -> None:
    manifest = "applications:\n- name: shop\n  command: bash run.sh\n"
    script = "poetry run python manage.py migrate\nexec poetry run gunicorn shop:app\n"
    assert only(read(tmp_path, {"manifest.yml": manifest, "run.sh": script}))["release"] == "python manage.py migrate"


# systemd


def unit(*lines: str) -> dict[str, str]:
    return {"shop.service": "\n".join(("[Service]", *lines, "[Install]", "WantedBy=multi-user.target", ""))}


def test_a_directory_that_a_unit_enters_is_the_source(tmp_path: Path) -> None:
    start = f"ExecStart=/bin/bash -c 'cd {tmp_path}/code && source env/bin/activate && fastapi run'"
    document = only(read(tmp_path, unit(start) | {"code/main.py": FASTAPI}))
    assert (document["path"], document["entrypoint"]) == (str(tmp_path / "code"), "main:app")


@pytest.mark.parametrize(("start", "entrypoint"), [
    ("gunicorn --chdir {0} shop:app", "shop:app"),
    ("flask --app {0}/shop.py run", "shop:app"),
    ("uwsgi --http-socket :80 --wsgi-file {0}/shop.py --callable app", "shop:app"),
])  # fmt: skip
def test_absolute_paths_are_those_of_the_host(tmp_path: Path, start: str, entrypoint: str) -> None:
    files = unit(f"WorkingDirectory={tmp_path}", f"ExecStart={start.format(tmp_path)}")
    document = only(read(tmp_path, files | {"shop.py": FLASK}, "shop.service"))
    assert (document["path"], document["entrypoint"]) == (str(tmp_path), entrypoint)


def test_a_python_path_within_the_source_is_that_of_the_build(tmp_path: Path) -> None:
    lines = ("WorkingDirectory=/srv/shop", "Environment=PYTHONPATH=/srv/shop/src", "ExecStart=gunicorn shop:app")
    assert only(read(tmp_path, unit(*lines)))["env"] == {"PYTHONPATH": "src"}


def test_places_to_fill_in_are_no_values(tmp_path: Path) -> None:
    lines = (
        "WorkingDirectory={{ project_dir }}/src",
        "ExecStart={{ project_dir }}/venv/bin/uvicorn --host 0.0.0.0 --port {{ port }} shop:app",
    )
    result = read(tmp_path, unit(*lines))
    document = only(result)
    assert (document["entrypoint"], document["path"]) == ("shop:app", "..")
    assert "'path'" in advice(result)["WorkingDirectory={{ project_dir }}/src"]
    assert "--port {{port}}" in advice(result)
    (tmp_path / "next").mkdir()
    shell = read(tmp_path / "next", unit("ExecStart=/bin/bash -c '<ENV>/gunicorn <APP>.wsgi'"))
    assert shell.manifests == []
    assert [*advice(shell).values()] == ["<ENV> is to be filled in: import it once that is done"]


def test_a_unit_that_is_no_app_is_told_by_its_command(tmp_path: Path) -> None:
    said = advice(read(tmp_path, unit("User=me", "ExecStart=/usr/sbin/nginx")))
    assert said == {"ExecStart=/usr/sbin/nginx": "it starts no Python web server that import knows"}


def test_endless_and_broken_lines_of_a_unit_are_said(tmp_path: Path) -> None:
    said = advice(read(tmp_path, unit("TimeoutStopSec=infinity", "systemctl enable it", "ExecStart=gunicorn shop:app")))
    assert "always a limit" in said["TimeoutStopSec=infinity"]
    assert "no '='" in said["systemctl enable it"]


# supervisord


def program(*lines: str) -> dict[str, str]:
    return {"shop.conf": "\n".join(("[program:shop]", *lines, ""))}


def test_numbers_of_supervisord_keep_their_width(tmp_path: Path) -> None:
    lines = ("command=gunicorn -b 0.0.0.0:90%(process_num)02d shop:app", "numprocs=2")
    assert only(read(tmp_path, program(*lines)))["port"] == 9000


def test_no_time_to_stop_and_other_habits_of_supervisord_are_no_obstacle(tmp_path: Path) -> None:
    lines = (
        "command=gunicorn shop:app; the server", "stopwaitsecs=0", "startsecs=0", "priority=999", "umask=022",
        'environment=PORT=8000,PATH="/opt/venv/bin:%(ENV_PATH)s"',
    )  # fmt: skip
    result = read(tmp_path, program(*lines) | {"shop.py": APP})
    document = only(result)
    assert (document["port"], document["gunicorn"]) == (8000, {"umask": 0o22})
    assert "env" not in document
    assert set(advice(result)) == {"stopwaitsecs=0", "startsecs=0"}


def test_a_program_without_a_directory_is_said_to_have_none(tmp_path: Path) -> None:
    said = advice(read(tmp_path, program("command=gunicorn elsewhere:app")))
    assert "set 'path'" in said["command=gunicorn elsewhere:app"]


@pytest.mark.parametrize(("command", "says"), [
    ("nginx -g 'daemon off;'", "leave 'shop' with supervisord"),
    ("uwsgi -x /opt/shop.xml", "reconciler import /opt/shop.xml"),
    ("uwsgi --emperor /etc/uwsgi/vassals", "reconciler import /etc/uwsgi/vassals"),
])  # fmt: skip
def test_a_program_that_is_not_imported_is_told_by_its_command(tmp_path: Path, command: str, says: str) -> None:
    ((original, said),) = advice(read(tmp_path, program(f"command={command}", "user=me"))).items()
    assert (original, says in said) == (f"command={command}", True)


def test_an_address_of_daphne_may_be_a_host_alone(tmp_path: Path) -> None:
    document = only(read(tmp_path, program("command=daphne -b 0.0.0.0 -p 8001 shop.asgi:application")))
    assert (document["host"], document["port"]) == ("0.0.0.0", 8001)


# uWSGI


def test_where_uwsgi_imports_from_is_the_source_or_below_it(tmp_path: Path) -> None:
    alone = "<uwsgi><pythonpath>/srv/shop</pythonpath><module>shop:app</module></uwsgi>"
    assert only(read(tmp_path, {"shop.xml": alone}))["path"] == "/srv/shop"
    (tmp_path / "next").mkdir()
    below = "[uwsgi]\nchdir=/srv/shop\npythonpath=/srv/shop/src\nmodule=shop:app\nthread=2\n"
    document = only(read(tmp_path / "next", {"shop.ini": below}))
    assert (document["path"], document["gunicorn"], document["threads"]) == ("/srv/shop", {"pythonpath": "src"}, 2)


# Piku, Procfile, app.json


@pytest.mark.parametrize(("files", "said"), [
    ({"ENV": "PORT=80\n", "Procfile": "php: /\n"}, {"PORT=80", "php: /"}),
    ({"ENV": "HOST='localhost'\n"}, {"HOST=localhost"}),
    ({"Procfile": "web: cargo run\n"}, {"web: cargo run"}),
])  # fmt: skip
def test_why_nothing_is_imported_is_said(tmp_path: Path, files: dict[str, str], said: set[str]) -> None:
    result = read(tmp_path, files)
    assert result.manifests == []
    assert set(advice(result)) == said


def test_of_two_dependency_files_piku_takes_the_requirements(tmp_path: Path) -> None:
    files = {"ENV": "PORT=80\n", "Procfile": "wsgi: shop:app\n", "requirements.txt": "", "uv.lock": ""}
    assert only(read(tmp_path, files))["dependencies"] == "requirements.txt"


def test_what_dokku_runs_before_each_deploy_is_the_release_command(tmp_path: Path) -> None:
    app_json = '{"scripts": {"dokku": {"predeploy": "python manage.py migrate"}}, "formation": {}}'
    files = {"Procfile": "web: gunicorn shop:app\n", "app.json": app_json}
    result = read(tmp_path, files)
    assert only(result)["release"] == "python manage.py migrate"
    assert advice(result) == {}
    files["Procfile"] += "release: python fill.py\n"
    result = read(tmp_path, files)
    assert "release" not in only(result)
    assert advice(result) == {"predeploy: python manage.py migrate": "run it as part of 'release'"}


def test_an_app_json_is_of_the_platform_that_its_fields_or_a_procfile_tell(tmp_path: Path) -> None:
    described = '{"name": "web-shop", "keywords": ["fast"]}'
    assert only(read(tmp_path, {"Procfile": "web: gunicorn shop:app\n", "app.json": described}, "app.json"))
    for text in (described, '{"expo": {"name": "shop"}}'):
        (tmp_path / "alone.d").mkdir(exist_ok=True)
        (tmp_path / "alone.d" / "app.json").write_text(text)
        assert found_in(tmp_path / "alone.d" / "app.json") == []
    (tmp_path / "alone.d" / "app.json").write_text('{"cron": [{"command": "true", "schedule": "@daily"}]}')
    assert [each.kind for each in found_in(tmp_path / "alone.d" / "app.json")] == ["procfile"]


@pytest.mark.parametrize("services", [
    "services: postgresql\n", "services: [docker]\n", "services:\n- redis\n", "services: # all\n\n  # one\n  - redis\n",
])  # fmt: skip
def test_services_of_a_ci_system_are_none_of_compose(tmp_path: Path, services: str) -> None:
    (tmp_path / "Procfile").write_text("web: gunicorn shop:app\n")
    for name in (".travis.yml", "ci.yml"):
        (tmp_path / name).write_text(f"language: python\n{services}script: [make]\n")
    assert [each.kind for each in found_in(tmp_path)] == ["procfile"]
    (tmp_path / "ci.yml").write_text("services:\n  # the shop\n\n  web: {image: shop}\n")
    assert [each.kind for each in found_in(tmp_path)] == ["compose", "procfile"]


def test_what_heroku_runs_once_is_no_release_command(tmp_path: Path) -> None:
    app_json = '{"scripts": {"postdeploy": "python fill.py"}, "env": {"LEVEL": "info"}}'
    files = {"Procfile": "web: gunicorn shop:app\nrelease: python migrate.py\n", "app.json": app_json}
    result = read(tmp_path, files)
    assert only(result)["env"] == {"LEVEL": "info"}
    (said,) = advice(result).values()
    assert said.startswith("it runs once, for a new app")


def test_a_variable_that_an_addon_sets_is_told_with_its_service(tmp_path: Path) -> None:
    app_json = (
        '{"name": "shop", "env": {"DATABASE_URL": {"required": true}, "REDIS_URL": {"required": true},'
        ' "API_KEY": {"required": true}}, "addons": ["heroku-postgresql", "heroku-redis"]}'
    )
    said = advice(read(tmp_path, {"Procfile": "web: gunicorn shop:app\n", "app.json": app_json}))
    assert said == {
        "DATABASE_URL:": "the daemon sets it, for the service shop-postgresql",
        "REDIS_URL:": "the app finds the service shop-redis in VCAP_SERVICES; there is no REDIS_URL",
        "API_KEY:": "it has no value: add API_KEY to 'env'",
    }


# Kamal

DEPLOY = "service: shop\nimage: me/shop\nregistry: {username: me, password: [KEY]}\n"
DOCKERFILE = """\
FROM python:3.12 AS base
COPY . /app
WORKDIR /app/src
FROM base
COPY deploy/start.sh /start
ENTRYPOINT ["/usr/bin/tini", "--", "/start"]
"""


def test_the_context_of_the_image_is_the_source(tmp_path: Path) -> None:
    files = {
        "deploy/config/deploy.yml": f"{DEPLOY}builder: {{context: .., dockerfile: ../Dockerfile.web}}\n",
        "Dockerfile.web": "FROM python\nCOPY start.sh /start\nCMD /start\n",
        "start.sh": "python manage.py migrate\ngunicorn shop:app --workers 2\n",
    }
    result = read(tmp_path, files, "deploy/config/deploy.yml")
    document = only(result)
    assert (document["path"], document["entrypoint"], document["workers"]) == ("..", "shop:app", 2)
    assert document["release"] == "python manage.py migrate"


def test_a_destination_is_merged_over_the_deployment(tmp_path: Path) -> None:
    files = {
        "config/deploy.yml": f"{DEPLOY}servers: [10.0.0.1]\nenv: {{LEVEL: info, SIZE: 1}}\ndrain_timeout: 9\n",
        "config/deploy.staging.yml": "servers: {web: [10.0.0.2]}\nenv: {LEVEL: debug}\n",
        "Dockerfile": "CMD gunicorn shop:app\n",
    }
    result = read(tmp_path, files, "config/deploy.staging.yml")
    document = only(result)
    assert document["env"] == {"LEVEL": "debug", "SIZE": "1"}
    assert document["stop_timeout"] == "9s"
    assert "web: 10.0.0.2" in advice(result)
    assert not any("10.0.0.1" in original for original in advice(result))


def test_a_directory_names_the_destinations_that_it_does_not_read(tmp_path: Path) -> None:
    read(tmp_path, {"config/deploy.yml": DEPLOY, "config/deploy.staging.yml": "proxy: {host: x.org}\n"})
    (found,) = found_in(tmp_path)
    assert (found.kind, found.names, found.others) == ("kamal", ("deploy.yml",), ("deploy.staging.yml",))


def test_the_web_role_has_variables_and_ruby_stays_as_it_is_written(tmp_path: Path) -> None:
    text = (
        f"{DEPLOY}servers:\n  web:\n    hosts: [<%= ENV['IP'] %>]\n    env:\n      clear: {{LEVEL: info, PORT: 8000}}\n"
        "      secret: [DATABASE_URL]\naccessories: {db: {image: postgres, host: 1.2.3.4}}\n"
    )
    result = read(tmp_path, {"config/deploy.yml": text, "app.py": APP, "Dockerfile": "CMD /unknown\n"})
    assert only(result)["env"] == {"LEVEL": "info"}
    said = advice(result)
    assert "hosts: <%= ENV['IP'] %>" in said
    assert said["DATABASE_URL (a secret)"] == "the daemon sets it, for the service db"
    assert "cannot tell what it starts" in said["CMD /unknown"]


def test_paths_of_an_image_are_those_of_the_source_that_it_copies() -> None:
    (item,) = dockerfile_commands("Dockerfile", DOCKERFILE)
    assert (item.line, item.value) == (6, "cd src && ../deploy/start.sh")


def test_a_worker_class_of_the_environment_is_left_to_the_reader(tmp_path: Path) -> None:
    result = read(tmp_path, program('command=gunicorn -k "$WORKER_CLASS" shop:app') | {"shop.py": APP})
    assert "worker_class" not in only(result)
    assert advice(result) == {"--worker-class $WORKER_CLASS": "set the field 'worker_class'"}


def test_an_option_of_uwsgi_needs_no_value(tmp_path: Path) -> None:
    text = "[uwsgi]\nmodule = shop:app\nmaster\nstrict\nroute-run = last:\nhttp-keepalive = 75\n"
    assert set(advice(read(tmp_path, {"shop.ini": text}))) == {"route-run=last:", "http-keepalive=75"}
