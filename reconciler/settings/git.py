"""The repositories that this host may fetch, and the origins of manifests in them, as the settings declare them."""

from collections.abc import Mapping
from dataclasses import field, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

from reconciler.linux.dataclass import dataclass
from reconciler.settings.git_statuses import Statuses

Signed: TypeAlias = Literal["every", "head", "tag", "no"]

_GIT_ITSELF = 128 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """One repository: where it is, how this host authenticates there, and the limits of what is fetched.

    `urls` are its addresses in the order in which they are tried. Sizes are in bytes, times in seconds. `webhook` is
    the file with the secret of the git server's webhook, and `statuses` is where statuses of commits are told; None
    without one. `scopes` are what each signer may change, as the settings have it; none if each may change all.
    `urgent` are the signers whose commits may be urgent, None for all.
    This host signs its reports with `report_sign`, and pushes them below `report_refs` with `report_key` or
    `report_token`, if those are not what it fetches with. All reports are in the repository `report_to`, if that is not
    this one.
    """

    name: str
    urls: tuple[str, ...]
    key: Path | None = None
    known_hosts: Path | None = None
    user: str | None = None
    token: Path | None = None
    ca: Path | None = None
    client_certificate: Path | None = None
    client_key: Path | None = None
    every_s: float = 60.0
    timeout_s: float = 120.0
    stale_after_s: float = 86400.0
    largest_store: int = 256 * 1024 * 1024
    largest_file: int = 4 * 1024 * 1024
    most_files: int = 20_000
    signers: Path | None = None
    openpgp: Path | None = None
    signed: Signed = "every"
    first: str | None = None
    scopes: Mapping[str, Any] = field(default_factory=dict)
    fsck: tuple[str, ...] = ()
    webhook: Path | None = None
    statuses: Statuses | None = None
    urgent: tuple[str, ...] | None = field(default=None, repr=False)
    report_sign: Path | None = None
    report_key: Path | None = None
    report_token: Path | None = None
    report_refs: str = "refs/reconciler/"
    report_to: "Repository | None" = field(default=None, repr=False)

    @property
    def of_reports(self) -> "Repository":
        """The repository that holds the reports of the hosts."""
        return self.report_to or self

    @property
    def most_memory(self) -> int:
        """The bytes of memory that one process of git may use: for two objects of any size, and for itself."""
        return 2 * self.largest_store + _GIT_ITSELF


@dataclass(frozen=True, slots=True, kw_only=True)
class GitOrigin:
    """One origin of manifests: what of a repository is followed, and the directories in it whose files are manifests.

    A `branch` is followed, or the newest of the `tags` that match a pattern, or it is one `commit`; the others are
    empty. `paths` are relative to the top, which is ""; `host` is what `{host}` in them stood for. `may` is the fence
    as the settings have it. With `whole`, a commit with a manifest that has an error is refused as a whole. With
    `returns`, a commit whose apps fail is left again. `templates` are the paths as they are written, with `{host}`.
    What `is_source` has no manifests: apps take their sources from it. `trial` is a branch that is tried on top of what
    is accepted, "" for none. Unless `in_fleet`, no waves of the repository concern it; `goes_by` is the origin whose
    reports count for it, "" for its own.
    """

    name: str
    repository: Repository
    host: str
    branch: str = ""
    tags: str = ""
    commit: str = ""
    paths: tuple[str, ...] = ("",)
    templates: tuple[str, ...] = field(default=("",), repr=False, compare=False)
    trial: str = ""
    whole: bool = True
    returns: bool = True
    may: Mapping[str, Any] = field(default_factory=dict)
    is_source: bool = False
    in_fleet: bool = field(default=True, repr=False)
    goes_by: str = field(default="", repr=False)

    def as_trial(self) -> "GitOrigin":
        """Return the origin that follows the trial branch in place of what this one follows."""
        return replace(self, name=f"{self.name}/trial", branch=self.trial, tags="", commit="", trial="")

    @property
    def reported(self) -> str:
        """The name of the origin whose reports count for this one; it is the same on every host of the fleet."""
        return self.goes_by or self.name

    @property
    def followed(self) -> str:
        """What is followed, in an operator's words."""
        return self.branch or self.tags or f"commit {self.commit[:7]}"
