"""The one table by which requests of operators are granted."""

from typing import Any

import pytest

from reconciler.control.grants import PROCESS, Grant, Grants
from reconciler.control.requests import Refused


def said(words: str) -> Grant:
    def grant(request: dict[str, Any], who: str) -> dict[str, Any]:
        return {"done": f"{words} {request.get('app')} for {who}"}

    return grant


GRANTS = Grants({"restart": said("app")}, {f"{PROCESS}restart": said("process"), f"{PROCESS}stop": said("stop")})


def test_each_request_is_granted_by_the_part_that_knows_it() -> None:
    assert GRANTS.grant({"do": "restart", "app": "shop"}, "eve") == {"done": "app shop for eve"}
    about = {"do": "restart", "app": "shop", "process": "worker"}
    assert GRANTS.grant(about, "eve") == {"done": "process shop for eve"}


@pytest.mark.parametrize("name", ["reboot", None, ["restart"], {"a": 1}, 7])
def test_what_no_part_knows_is_refused(name: Any) -> None:
    with pytest.raises(Refused, match=r"there is no request .* there are restart, rollback"):
        GRANTS.grant({"do": name, "app": "shop"}, "eve")
    with pytest.raises(Refused, match="about a process; there are restart, stop"):
        GRANTS.grant({"do": name, "app": "shop", "process": "worker"}, "eve")


def test_a_request_about_a_process_is_never_taken_for_one_about_its_app() -> None:
    with pytest.raises(Refused, match="there is no request"):
        GRANTS.grant({"do": "process/restart", "app": "shop", "process": "worker"}, "eve")
