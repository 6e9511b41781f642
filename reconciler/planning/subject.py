"""Identify what a report, an event, a metric or a message is about: an app, a service, a schedule, and others.

The name of a schedule is that of its app, a slash, and its own.
"""

from typing import Literal, TypeAlias

from reconciler.linux.dataclass import dataclass

SubjectKind: TypeAlias = Literal["app", "service", "origin", "schedule", "proxy", "host"]


@dataclass(frozen=True, slots=True)
class Subject:
    """One thing on this host, by kind and name; the proxy and the host have no name.

    `str()`: `blog`, `service blog-db`, `host`.
    """

    kind: SubjectKind
    name: str = ""

    def __str__(self) -> str:
        match self.kind:
            case "app":
                return self.name
            case "service":
                return f"service {self.name}"
            case "origin":
                return f"origin {self.name}"
            case "schedule":
                return f"schedule {self.name}"
            case "proxy" | "host":
                return self.kind


HOST = Subject("host")
