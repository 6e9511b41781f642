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
