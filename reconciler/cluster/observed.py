"""What is true of an app in a cluster, as values. Pure."""

from collections.abc import Mapping
from dataclasses import field
from typing import Any

from reconciler.cluster.ownership import Seen
from reconciler.linux.dataclass import dataclass
from reconciler.planning.apps.app import App
from reconciler.planning.apps.revision import Revision
from reconciler.planning.routing.route import Led


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """The objects of an app and a revision, or why there are none; `notes` are what differs in a cluster.

    They are in the order in which they are applied, and marked as ours.
    """

    app: App
    revision: str
    objects: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)
    refused: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedPlace:
    """What is true of one app in one cluster.

    `revision` is the one to be deployed: its build is staged; it is tried `since` then. `seen` are its objects there
    that are ours, `pods` its pods. `looked` is False until the cluster was looked at once, `unseen` says why it cannot
    be looked at now. `held` says that the manifest cannot be read, so that nothing is removed. An app that moves has
    another place, `here` or another cluster: `wanted_at` is the one that its manifest asks for instead, and `serves_at`
    the one where it serves besides; "" for none. `left` says that something of it may be there. `conflicts` are what
    others have of our objects, which is not changed back, by what was found then. An app that moves is to serve at both
    places for `overlap_s`; it does so since `both_since`. It is all there since `stands_since`; what leads to its pods
    hears of that within `drain_s`. The proxy of this host has `led` its clients there, or to the other place, since
    `led_since`; what it had begun before has as long to be answered, and a while longer while some of it is
    `waited_for` here.
    """

    installation: str
    place: str
    revision: Revision | None = None
    since: float | None = None
    rendered: Rendered | None = None
    seen: Mapping[tuple[str, str], Seen] = field(default_factory=dict, repr=False)
    pods: tuple[Seen, ...] = field(default=(), repr=False)
    looked: bool = False
    unseen: str = ""
    held: bool = False
    wanted_at: str = ""
    serves_at: str = ""
    left: bool = False
    conflicts: Mapping[str, str] = field(default_factory=dict)
    overlap_s: float = 0.0
    both_since: float | None = None
    stands_since: float | None = None
    led: Led = "nowhere"
    led_since: float = 0.0
    drain_s: float = 0.0
    waited_for: bool = False
