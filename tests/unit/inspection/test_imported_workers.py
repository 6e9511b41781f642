"""What runs beside a web server elsewhere becomes processes of the manifest, or an app without a web server."""

from pathlib import Path
from typing import Any

import yaml

from reconciler.inspection.imports.importing import Imported, imported
from reconciler.inspection.imports.kinds import found_in

FLASK = "from flask import Flask\napp = Flask(__name__)\n"


def read(directory: Path, files: dict[str, str]) -> Imported:
    for file, text in files.items():
        (directory / file).parent.mkdir(parents=True, exist_ok=True)
        (directory / file).write_text(text)
    found = imported(found_in(directory)[:1], directory / "manifests")
    assert found.problems == [], "each manifest that is written can be read"
    return found


def documents(result: Imported) -> dict[str, dict[str, Any]]:
    return {each.name: yaml.safe_load(each.text) for each in result.manifests}


def only(result: Imported) -> dict[str, Any]:
    (document,) = documents(result).values()
    return document


def advice(result: Imported) -> list[str]:
    notes = [*result.notes, *(note for each in result.manifests for note in each.notes)]
    return [f"{note.original}: {note.advice}" for note in notes]


def test_lines_of_a_procfile_are_named_and_those_of_a_shell_are_written_out(tmp_path: Path) -> None:
    lines = (
        "web: gunicorn app:app\nrelease: true\nworker: celery -A app worker\nmix: cd x && python a.py\nbad name: x\n"
    )
    formation = '{"formation": {"worker": {"quantity": 3}, "web": {"quantity": 1}}}'
    result = read(tmp_path, {"Procfile": lines, "app.json": formation, "app.py": FLASK})
    assert only(result)["processes"] == {"worker": 3, "mix": {"command": ["sh", "-c", "cd x && python a.py"]}}
    assert any("write `exec` before" in each for each in advice(result))
    assert any(each.startswith("bad name: x: it is no line") for each in advice(result))


def test_a_procfile_without_a_web_line_is_an_app_without_a_web_server(tmp_path: Path) -> None:
    found = only(read(tmp_path, {"Procfile": "worker: python bot.py\n", "bot.py": "print()"}))
    assert (found["web"], found["processes"]) == (False, {"worker": 1})


def test_piku_runs_its_other_lines_beside_the_web(tmp_path: Path) -> None:
    files = {"ENV": "LEVEL=info\n", "Procfile": "wsgi: app:app\nworker: python fetch.py\n", "app.py": FLASK}
    found = only(read(tmp_path, files))
    assert (found["processes"], "web" in found) == ({"worker": 1}, False)


def test_programs_of_supervisord_belong_to_the_app_of_their_directory(tmp_path: Path) -> None:
    conf = """
[program:mail-worker]
command=/srv/shop/venv/bin/celery -A shop worker
directory=/srv/shop
numprocs=2
stopwaitsecs=600
environment=LEVEL="info",QUEUE="mails",QUEUE_PASSWORD="swordfish-77"

[program:shop]
command=/srv/shop/venv/bin/gunicorn shop:app -b 127.0.0.1:8001
directory=/srv/shop
environment=LEVEL="info"

[program:bot]
command=celery -A bot worker
directory=/srv/bot

[program:redis]
command=redis-server /etc/redis.conf
"""
    result = read(tmp_path, {"supervisord.conf": conf})
    found = documents(result)
    worker = found["shop"]["processes"]["mail-worker"]
    assert worker == {
        "command": "celery -A shop worker",
        "count": 2,
        "stop_timeout": "600s",
        "env": {"QUEUE": "mails", "QUEUE_PASSWORD": {"file": "secrets/shop-mail-worker-queue-password"}},
    }
    (shop,) = (each for each in result.manifests if each.name == "shop")
    assert shop.secrets == {"secrets/shop-mail-worker-queue-password": "swordfish-77"}
    assert "swordfish" not in shop.text
    assert found["bot"] == {"path": "/srv/bot", "web": False, "processes": {"bot": {"command": "celery -A bot worker"}}}
    assert any("leave 'redis' with supervisord" in each for each in advice(result))


def test_daemons_that_uwsgi_keeps_running_are_processes(tmp_path: Path) -> None:
    conf = """
[uwsgi]
module = app:app
attach-daemon = celery -A app worker
attach-daemon2 = cmd=python beat.py,stopsignal=15
smart-attach-daemon = /tmp/redis.pid redis-server
mule = mule.py
"""
    result = read(tmp_path, {"app.ini": conf, "app.py": FLASK})
    assert only(result)["processes"] == {
        "daemon": {"command": "celery -A app worker"},
        "daemon-2": {"command": "python beat.py"},
    }
    assert sum("name it in 'processes'" in each for each in advice(result)) == 2


def test_apps_of_cloud_foundry_without_a_route_and_processes_beside_the_web_are_taken_over(tmp_path: Path) -> None:
    text = """
applications:
- name: shop
  command: gunicorn app:app
  processes:
  - {type: web, instances: 2}
  - {type: worker, command: python worker.py, instances: 3}
- name: bot
  no-route: true
  health-check-type: process
  command: python bot.py
  env: {LEVEL: info}
"""
    found = documents(read(tmp_path, {"manifest.yml": text, "app.py": FLASK}))
    assert found["shop"]["processes"] == {"worker": {"command": "python worker.py", "count": 3}}
    assert found["shop"]["workers"] == 2
    bot = {name: found["bot"][name] for name in ("web", "processes", "env")}
    assert bot == {"web": False, "processes": {"bot": {"command": "python bot.py"}}, "env": {"LEVEL": "info"}}


def test_containers_of_a_compose_file_that_are_no_web_are_processes_of_the_app_of_their_source(tmp_path: Path) -> None:
    text = """
services:
  web: {build: ., command: gunicorn app:app, ports: ["8000:8000"], environment: {LEVEL: info}}
  worker:
    build: .
    command: celery -A app worker
    environment: {LEVEL: info, QUEUE: mails, QUEUE_PASSWORD: swordfish-77}
    stop_grace_period: 10m
    deploy: {replicas: 3}
    depends_on: [queue, web]
  beat: {build: ., command: [celery, -A, app, beat]}
  bot: {build: ./bot, command: python bot.py}
  other: {image: example/other, command: python other.py}
  proxy: {image: nginx, command: nginx}
  queue: {image: redis}
"""
    result = read(tmp_path, {"compose.yaml": text, "app.py": FLASK, "bot/bot.py": "print()"})
    found = documents(result)
    assert set(found) == {"web", "bot", "queue"}
    assert found["web"]["processes"] == {
        "worker": {
            "command": "celery -A app worker", "count": 3,
            "env": {"QUEUE": "mails", "QUEUE_PASSWORD": {"file": "secrets/web-worker-queue-password"}},
            "stop_timeout": "10m",
        },
        "beat": {"command": "celery -A app beat"},
    }  # fmt: skip
    assert found["web"]["services"] == ["queue"]
    assert (found["bot"]["web"], found["bot"]["processes"]) == (False, {"bot": {"command": "python bot.py"}})
    assert sum("it is no Python app" in each for each in advice(result)) == 2


def test_a_container_of_the_image_of_the_web_is_a_process_of_its_app(tmp_path: Path) -> None:
    text = """
services:
  web: {build: ., image: example/app, command: gunicorn app:app}
  worker: {image: example/app, command: python -m app.worker}
"""
    found = only(read(tmp_path, {"compose.yaml": text, "app.py": FLASK}))
    assert found["processes"] == {"worker": {"command": "python -m app.worker"}}


def test_units_of_workers_are_processes_of_the_app_of_their_directory_or_apps_of_their_own(tmp_path: Path) -> None:
    def unit(start: str, more: str = "", directory: str = "/srv/shop") -> str:
        return f"[Service]\nWorkingDirectory={directory}\nExecStart={start}\nEnvironment=LEVEL=info\n{more}"

    python = "/srv/shop/venv/bin"
    result = read(tmp_path, {
        "shop.service": unit(f"{python}/gunicorn shop:app -b 127.0.0.1:8001"),
        "worker.service": unit(f"{python}/celery -A shop worker", "TimeoutStopSec=600\nEnvironment=QUEUE=mails\n"),
        "bot.service": unit("/srv/bot/venv/bin/python bot.py", "TimeoutStopSec=20\n", str(tmp_path / "bot")),
        "bot/bot.py": "print()",
        "migrate.service": unit(f"{python}/python manage.py migrate", "Type=oneshot\n"),
        "redis.service": unit("/usr/bin/redis-server"),
    })  # fmt: skip
    found = documents(result)
    assert set(found) == {"shop", "bot"}
    worker = {"command": "celery -A shop worker", "stop_timeout": "600s", "env": {"QUEUE": "mails"}}
    assert (found["shop"]["processes"], found["shop"]["env"]) == ({"worker": worker}, {"LEVEL": "info"})
    assert (found["bot"]["web"], found["bot"]["env"]) == (False, {"LEVEL": "info"})
    assert found["bot"]["processes"] == {"bot": {"command": "python bot.py", "stop_timeout": "20s"}}


def test_roles_of_kamal_that_are_not_web_are_processes(tmp_path: Path) -> None:
    text = """
service: shop
image: example/shop
servers:
  web: {hosts: [192.0.2.1], cmd: gunicorn app:app}
  job:
    hosts: [192.0.2.2]
    cmd: celery -A app worker
    env: {clear: {QUEUE: mails, LEVEL: info}}
  odd: {hosts: [192.0.2.3]}
env: {clear: {LEVEL: info}}
"""
    result = read(tmp_path, {"config/deploy.yml": text, "app.py": FLASK})
    assert only(result)["processes"] == {"job": {"command": "celery -A app worker", "env": {"QUEUE": "mails"}}}
    assert sum("name it in 'processes'" in each for each in advice(result)) == 1
