"""Plans of an app in a cluster over any history: edits, drift, losses, failures, moves, and a cluster that is not seen.

Whatever happens, nothing that serves is deleted while it is in doubt or nothing else serves, and every history ends
with what is asked for.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from reconciler.cluster.actions import ApplyObject, DeleteObject, ForgetPlace, Render
from reconciler.cluster.observed import ObservedPlace, Rendered
from reconciler.cluster.ownership import differences, key_of, marked
from reconciler.cluster.plan import plan
from reconciler.planning.apps.app import HERE, App
from reconciler.planning.plan import Plan
from reconciler.planning.routing.route import Led
from tests.support.exported import app_of, export
from tests.support.kube_api import failed_rollout, rolled_out

_MOST_STEPS = 60
_DRAIN_S = 5.0
FIELDS: tuple[Mapping[str, Any], ...] = (
    {},
    {"release": "python migrate.py", "processes": {"worker": "python w.py"}},
    {"instances": 3, "schedules": {"cleanup": {"command": "true", "at": "5 4 * * *"}}},
)
APPS = tuple(app_of(fields) for fields in FIELDS)
OBJECTS = tuple(
    tuple(marked(each, "here", app.revision("c").id) for each in export(fields).objects)
    for app, fields in zip(APPS, FIELDS, strict=True)
)
EVENTS = (
    "roll out", "roll out", "fail", "edit 0", "edit 1", "edit 2", "remove", "hold", "release", "blind", "see", "drift",
    "lose", "move here", "move elsewhere", "serve here", "serve elsewhere", "end here", "end elsewhere", "wait",
    "led here", "led there", "led elsewhere", "led unknown",
)  # fmt: skip
PLACES = {"here": HERE, "elsewhere": "staging"}
LED: Mapping[str, Led] = {
    "led here": "here", "led there": "there", "led elsewhere": "elsewhere", "led unknown": "unknown",
}  # fmt: skip


@dataclass
class Story:
    """A cluster, what is asked for there, and what is true of this host."""

    asked: int | None = 0
    rendered: int | None = None
    seen: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    held: bool = False
    unseen: str = ""
    moves_to: str = ""
    serves: set[str] = field(default_factory=set)
    both_since: float | None = None
    overlap_s: float = 0.0
    led: Led = "nowhere"
    led_since: float = 0.0
    now: float = 0.0
    uids: int = 0

    @property
    def app(self) -> App | None:
        return None if self.asked is None or self.moves_to else APPS[self.asked]

    @property
    def serves_at(self) -> str:
        """The place where it serves besides, or instead."""
        if self.moves_to:
            return self.moves_to if self.moves_to in self.serves else ""
        return min(self.serves, key=lambda place: place != HERE, default="")

    def planned(self) -> "Plan[Any]":
        rendered = None
        if self.rendered is not None:
            app = APPS[self.rendered]
            rendered = Rendered(app=app, revision=app.revision("c").id, objects=OBJECTS[self.rendered])
        observed = ObservedPlace(
            installation="here",
            place="prod",
            revision=None if self.app is None else self.app.revision("c"),
            rendered=rendered,
            seen=self.seen,
            looked=True,
            unseen=self.unseen,
            held=self.held,
            wanted_at=self.moves_to,
            serves_at=self.serves_at,
            left=bool(self.seen),
            overlap_s=self.overlap_s,
            both_since=self.both_since,
            led=self.led,
            led_since=self.led_since,
            drain_s=_DRAIN_S,
        )
        found = plan(self.app, observed, self.now)
        if found.reason == "serving-at-both" and self.both_since is None:
            self.both_since = self.now
        return found

    def act(self) -> None:
        """Do the first action of the plan, if nothing speaks against it."""
        found = self.planned()
        self.check(found)
        match found.first:
            case Render():
                self.rendered = self.asked
            case ApplyObject() as action:
                self.apply(json.loads(json.dumps(action.wanted)))
            case DeleteObject() as action:
                del self.seen[action.kind, action.name]
            case ForgetPlace():
                self.rendered, self.both_since = None, None
            case None:
                pass

    def apply(self, wanted: dict[str, Any]) -> None:
        before = self.seen.get(key_of(wanted), {"metadata": {}})
        self.uids += 1
        metadata = {
            **wanted["metadata"],
            "uid": before["metadata"].get("uid", f"u{self.uids}"),
            "generation": before["metadata"].get("generation", 0) + 1,
        }
        self.seen[key_of(wanted)] = {**wanted, "metadata": metadata, "status": before.get("status", {})}

    @property
    def led_to(self) -> Led:
        """Where the proxy is to lead clients in the end."""
        return "there" if self.app is not None else "here" if self.moves_to == HERE else "elsewhere"

    def check(self, found: "Plan[Any]") -> None:
        """Hold a plan to what must be true of each."""
        deletes = [action for action in found.actions if isinstance(action, DeleteObject)]
        if self.app is None:
            assert not (deletes and self.held), "a manifest that cannot be read removes nothing"
            if self.moves_to and not self.held and any(kind == "CronJob" for kind, _ in self.seen):
                assert {each.kind for each in deletes} == {"CronJob"}, "another place starts its schedules"
                return
            assert not (deletes and self.moves_to and not self.serves_at), "it serves there first"
            if deletes and self.moves_to and self.led != "nowhere":
                assert self.led == self.led_to, "the proxy leads there, or may"
                assert self.now >= self.led_since + _DRAIN_S, "what it had begun may not be answered"
            if deletes and self.moves_to and self.overlap_s:
                assert self.both_since is not None, "it serves at both first"
                assert self.now >= self.both_since + self.overlap_s, "clients may still follow"
        elif deletes:
            wanted = {key_of(each) for each in OBJECTS[self.asked or 0]}
            assert not {(each.kind, each.name) for each in deletes} & wanted
            for each in self.seen.values():
                if each["kind"] == "Deployment" and key_of(each) in wanted:
                    assert is_available(each), "what is left over goes after the rollout"
        assert not (found.settled and found.actions)

    def happen(self, event: str, which: int) -> None:
        chosen = self.seen[sorted(self.seen)[which % len(self.seen)]] if self.seen else None
        match event.split():
            case ["edit", number]:
                self.asked, self.moves_to, self.both_since = int(number), "", None
            case ["move", place] if self.asked is not None:
                self.moves_to, self.both_since = PLACES[place], None
            case ["serve", place]:
                self.serves.add(PLACES[place])
            case ["end", place]:
                self.serves.discard(PLACES[place])
            case ["wait"]:
                self.now += 10
            case ["drift"] if chosen is not None:
                chosen.setdefault("spec", {})["replicas"] = 7
            case ["lose"] if chosen is not None:
                del self.seen[key_of(chosen)]
            case _:
                self.turn(event)

    def turn(self, event: str) -> None:
        """Have something be otherwise that is of no app."""
        match event:
            case "roll out" | "fail":
                become = rolled_out if event == "roll out" else failed_rollout
                self.seen = {key: become(each) for key, each in self.seen.items()}
            case "remove":
                self.asked, self.moves_to = None, ""
            case "hold" | "release":
                self.held = event == "hold"
            case "blind" | "see":
                self.unseen = "no answer" if event == "blind" else ""
            case "led here" | "led there" | "led elsewhere" | "led unknown":
                self.lead(LED[event])

    def lead(self, led: Led) -> None:
        """Have the proxy lead clients somewhere."""
        self.led, self.led_since = led, self.now if led != self.led else self.led_since


def is_available(deployment: Mapping[str, Any]) -> bool:
    status, wanted = deployment.get("status", {}), deployment["spec"].get("replicas", 1)
    seen_last = status.get("observedGeneration", 0) >= deployment["metadata"]["generation"]
    return bool(seen_last and status.get("availableReplicas", 0) >= wanted == status.get("replicas", 0))


@given(
    st.lists(st.tuples(st.sampled_from(EVENTS), st.integers(0, 9), st.integers(0, 8)), min_size=5, max_size=30),
    st.sampled_from((0.0, 25.0)),
)
def test_every_history_ends_with_what_is_asked_for_and_nothing_goes_too_soon(
    events: list[tuple[str, int, int]], overlap_s: float
) -> None:
    story = Story(overlap_s=overlap_s)
    for event, which, actions in events:
        for _ in range(actions):
            story.act()
        story.happen(event, which)
        story.check(story.planned())
    story.held, story.unseen = False, ""
    story.serves |= {story.moves_to} - {""}
    if story.led != "nowhere":
        story.lead(story.led_to)
    for _ in range(_MOST_STEPS):
        if (found := story.planned()).settled:
            break
        story.act()
        story.happen("roll out", 0)
        story.now = max(story.now, found.recheck_at or 0)
    assert story.planned().settled, story.planned()
    if story.app is None:
        assert story.seen == {}
    else:
        wanted = OBJECTS[story.asked or 0]
        assert story.seen.keys() == {key_of(each) for each in wanted}
        assert not any(differences(each, story.seen[key_of(each)]) for each in wanted)
