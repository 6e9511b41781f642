"""What is true of the proxy and of the names at it, as planning sees it."""

from collections.abc import Mapping
from dataclasses import field
from typing import Any, Literal, TypeAlias

from reconciler.linux.dataclass import dataclass
from reconciler.planning.routing.linked_names import Link
from reconciler.planning.routing.route import Entry

AnswerState: TypeAlias = Literal["served", "expiring", "expired", "unserved"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AppFiles:
    """What was read of the files that an app's routing names.

    `accounts` are the users of its login with their hashes, `certificate` identifies the content of its certificate.
    `problem` says why the app cannot be published, empty if it can.
    """

    accounts: tuple[tuple[str, str], ...] | None = field(default=None, repr=False)
    certificate: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a name was answered with when it was tried last: the certificate, or why there was none.

    `at` and `again_at` are monotonic seconds, `ends_at` is wall-clock seconds.
    """

    at: float
    again_at: float
    state: AnswerState
    message: str = ""
    issuer: str = ""
    ends_at: float | None = None
    tries: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedProxy:
    """`config` is what the proxy has, None before the first look or when it could not be asked; `seen_at` is when.

    `alive` are the trees of static files that an app needs, of the newest first; `laid` those that are laid out, `kept`
    until when some of these stay without being needed (monotonic seconds), and `lacking` the directories that a build
    does not have, by app.

    `running` is about a proxy that the daemon keeps itself. `changed_at` is when it was last given a configuration,
    monotonic seconds. `left` says that something of ours may be in it from before. `upstreams` are where apps are
    reached on this host, which may be another address than their own, by name, `entries` those of the clusters where
    others are reached. `links` are the names that links on the disk serve.
    """

    running: bool = False
    config: Mapping[str, Any] | str | None = None
    seen_at: float = float("-inf")
    changed_at: float = float("-inf")
    left: bool = False
    version: tuple[int, ...] = ()
    limited: bool = False
    files: Mapping[str, AppFiles] = field(default_factory=dict)
    answers: Mapping[str, Answer] = field(default_factory=dict)
    alive: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    laid: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    kept: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    lacking: Mapping[str, str] = field(default_factory=dict)
    upstreams: Mapping[str, str] = field(default_factory=dict)
    entries: Mapping[str, Entry] = field(default_factory=dict)
    links: Mapping[str, Link] = field(default_factory=dict)
