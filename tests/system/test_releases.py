"""What ran, and back to it: each release of an app with its cause, its changes and its outcome."""

import json
from typing import Any

from tests.support.eventually import eventually
from tests.support.site import WSGI, Site
from tests.support.web import fetch


def told(site: Site, app: str = "shop") -> list[dict[str, Any]]:
    """The releases of an app, the newest first."""
    listed = site.cli("releases", app, "--json")
    if listed.returncode:
        return []
    found: list[dict[str, Any]] = json.loads(listed.stdout)["releases"]
    return found


def outcomes(site: Site) -> list[str]:
    return [release["outcome"] for release in told(site)]


def test_releases_tell_of_a_deploy_a_break_a_fix_and_a_rollback(site: Site) -> None:
    port = site.app("shop", probation="0s", env={"TITLE": "one", "API_KEY": "hunter2hunter2"})
    site.start()
    eventually(lambda: len(site.known_good("shop")) == 1)
    (first,) = told(site)
    assert (first["outcome"], first["cause"], first["can_roll_back"]) == ("serving", "first release", False)

    code = site.root / "apps" / "shop"
    site.save(code / "pages.py", "A = 1\nB = 2\n")
    site.save(code / "logo.bin", b"\0\1\2")
    eventually(lambda: outcomes(site)[0] == "serving" and len(site.known_good("shop")) >= 2)
    site.save(code / "wsgi.py", f"{WSGI}\nraise RuntimeError('no such luck')\n")
    eventually(lambda: outcomes(site)[0] == "failed")
    broken = told(site)[0]
    assert "no such luck" in broken["failure"]
    assert broken["initiator"] == "source"
    assert [(each["path"], each["change"]) for each in broken["files"]["files"]][-1] == ("wsgi.py", "changed")
    assert outcomes(site)[1] == "serving", "what served before goes on"

    site.save(code / "wsgi.py", f"{WSGI}# fixed\n")
    site.manifest("shop", port=port, probation="0s", env={"TITLE": "two", "API_KEY": "hunter3hunter3"})
    title = {"field": "env.TITLE", "before": "one", "after": "two"}
    eventually(lambda: outcomes(site)[0] == "serving" and title in told(site)[0]["changes"])
    site.await_settled("shop")
    everything = site.cli("releases", "shop").stdout
    assert "hunter" not in everything
    assert "env.TITLE: one → two" in everything

    wanted = told(site)[0]["previous_revision"]
    able = [each["revision"] for each in told(site) if each["can_roll_back"]]
    assert (able[0], able[-1]) == (wanted, first["revision"])  # the two files may have been seen one after the other
    page = fetch(site.paths.api, "/apps/shop")
    assert page.status == 200
    assert f"/apps/shop/rollback?revision={wanted}" in page.body
    assert (
        f"It goes back to revision <code>{wanted}</code>"
        in fetch(site.paths.api, f"/apps/shop/rollback?revision={wanted}").body
    )
    assert "No earlier revision" in fetch(site.paths.api, "/apps/shop/rollback?revision=abc").body
    assert fetch(site.paths.api, "/api/v1/apps/shop/releases").json["releases"] == told(site)
    refused = site.cli("rollback", "shop", "zzz")
    assert refused.returncode == 1
    assert wanted in refused.stderr
    assert site.cli("rollback", "shop", wanted[:8]).returncode == 0
    eventually(lambda: told(site)[0]["revision"] == wanted and outcomes(site)[0] == "serving")
    back = told(site)[0]
    assert (back["initiator"], back["reason"]) == ("operator", "rolled-back-by-operator")
    assert back["requested_by"]
    assert outcomes(site)[1] == "rolled back"

    shown = site.cli("releases", "shop", wanted[:8], "--diff")
    assert shown.returncode == 0, shown.stderr
    assert "-# fixed" in shown.stdout
    assert site.cli("start", "shop").returncode == 0
    eventually(lambda: told(site)[0]["revision"] != wanted and outcomes(site)[0] == "serving")
    assert told(site)[0]["cause"].endswith("cancelled a rollback")


def test_what_only_serves_again_is_no_release(site: Site) -> None:
    port = site.app("shop", probation="0s")
    site.start()
    eventually(lambda: len(site.known_good("shop")) == 1)
    code = site.root / "apps" / "shop" / "wsgi.py"
    good = code.read_text(encoding="utf-8")
    site.save(code, f"{good}\nraise RuntimeError('no such luck')\n")
    eventually(lambda: outcomes(site) == ["failed", "serving"])
    site.save(code, good)
    site.await_settled("shop")
    site.manifest("shop", port=port, probation="0s", state="maintenance")
    eventually(lambda: site.told("shop")["state"] == "maintenance")
    site.manifest("shop", port=port, probation="0s")
    eventually(lambda: site.told("shop")["state"] == "running")
    assert outcomes(site) == ["failed", "serving"]
