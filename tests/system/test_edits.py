"""Each field of a running app's manifest is edited on a running daemon, which does what the documentation says."""

from collections import Counter
from typing import Any

import pytest

from tests.docs.test_edits import APP_OTHERS, effect_on_app
from tests.support.eventually import eventually
from tests.support.ports import a_port
from tests.support.site import Site, get

# Two values of each field with which the app serves, and what is different of the events after the edit.
EDITS: dict[str, tuple[Any, Any]] = {
    "runtime": ("python3.11", "python3.12"),
    "entrypoint": ("wsgi:application", "wsgi:app"),
    "dependencies": ("a.txt", "b.txt"),
    "host": ("127.0.0.1", "127.0.0.2"),
    "depends_on": (["back"], ["bottom"]),
    "env_files": (["one.env"], ["two.env"]),
    "workers": (1, 2),
    "threads": (1, 2),
    "worker_class": ("sync", "gthread"),
    "gunicorn": ({"timeout": 30}, {"timeout": 60}),
    "env": ({"COLOUR": "red"}, {"COLOUR": "blue"}),
    "release": ("true", "python -V"),
    "health": ({"path": "/a"}, {"path": "/b"}),
    "probation": ("1s", "2s"),
    "stop_timeout": ("10s", "20s"),
    "idle_after": ("10m", "20m"),
    "crash": ({"first": "1s"}, {"first": "2s"}),
    "patience": ("10s", "20s"),
    "holding_page": ("/a.html", "/b.html"),
    "access_log": (True, False),
    "watch": (True, False),
    "persist": (["data"], ["media"]),
}
_TOLD = {
    "a new build is staged, then a new instance takes over": {"staged", "ready"},
    "a new instance takes over": {"ready"},
    "a new instance takes over, at the new address": {"ready"},
    "the files are read, then a new instance takes over": {"ready"},
    "the running instance is scaled": {"scaled"},
    "it counts from now on; nothing is restarted": set[str](),
}


@pytest.mark.nightly
@pytest.mark.parametrize("field", EDITS)
def test_an_edit_does_what_the_table_says(site: Site, field: str) -> None:
    before, after = EDITS[field]
    port = a_port()
    code = site.source("shop")
    site.save(code / "wsgi.py", f"{(code / 'wsgi.py').read_text()}\napp = application\n")
    for file in ("a.txt", "b.txt"):
        site.save(code / file, "# nothing\n")
    for file in ("one.env", "two.env"):
        site.save(site.manifests / file, f"FROM={file}\n")
    for needed in ("back", "bottom"):
        site.app(needed)
    site.manifest("shop", port=port, **{field: before})
    site.start()
    eventually(lambda: get(port) == "1", within=60.0)
    site.await_settled("shop", within=60.0)
    counted = Counter(kind for _, kind, _ in site.events("shop"))
    site.manifest("shop", port=port, **{field: after})
    # What comes after in the same order is seen last: another app that is new.
    other = site.app("other")
    eventually(lambda: get(other) == "1", within=60.0)
    site.await_settled("shop", "other", within=60.0)
    new = Counter(kind for _, kind, _ in site.events("shop")) - counted
    assert {"staged", "ready", "scaled"} & new.keys() == _TOLD[APP_OTHERS.get(field) or effect_on_app(field)]
    assert site.told("shop")["url"] == f"http://{after if field == 'host' else '127.0.0.1'}:{port}/"
