"""One file of manifests: its newest content, and what is in force from it. Pure."""

from dataclasses import field
from functools import cached_property
from pathlib import PurePath

from reconciler.documents.names import is_name
from reconciler.documents.problem import Problem
from reconciler.linux.dataclass import dataclass
from reconciler.manifests.app_document import AppDocument
from reconciler.manifests.parse_file import Parsed
from reconciler.manifests.service_document import ServiceDocument
from reconciler.planning.subject import HOST, Subject


@dataclass(frozen=True, kw_only=True)
class ManifestFile:
    """One file: its newest content and what is wrong with it, and what is in force from its last good content."""

    file: str
    origin: str
    problems: tuple[Problem, ...] = ()
    in_force: tuple[AppDocument, ...] = field(default=(), repr=False)
    services_in_force: tuple[ServiceDocument, ...] = field(default=(), repr=False)
    last_good: bytes | None = field(default=None, repr=False)
    content: bytes | str = field(default="", repr=False)
    parsed: Parsed = field(default_factory=Parsed, repr=False)

    @cached_property
    def is_in_force(self) -> bool:
        """Whether all that the newest content describes is in force, and nothing else of the file."""
        if self.problems or self.parsed.problems or self.last_good != self.content:
            return False
        return (self.in_force, self.services_in_force) == (self.parsed.apps, self.parsed.services)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The apps in force from this file."""
        return tuple(document.name for document in self.in_force)

    @cached_property
    def subjects(self) -> tuple[Subject, ...]:
        """The apps and services that are in force from this file or described in it; else the app that has its name."""
        in_force = (
            *(Subject("app", name) for name in self.names),
            *(Subject("service", document.name) for document in self.services_in_force),
        )
        if found := tuple(dict.fromkeys((*in_force, *self.parsed.subjects))):
            return found
        stem = PurePath(self.file).stem
        return (Subject("app", stem),) if is_name(stem) else (HOST,)

    @cached_property
    def all_names(self) -> tuple[str, ...]:
        """The apps and the services in force from this file, told apart."""
        return (*self.names, *(f"service {document.name}" for document in self.services_in_force))
