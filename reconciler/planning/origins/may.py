"""What the manifests of an origin may ask for: its fence, by default a narrow one."""

from reconciler.linux.dataclass import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class May:
    """The `may` of an origin. Names are given by patterns of fnmatch; an empty tuple allows none.

    `paths` are absolute paths outside the repository that manifests may name, each with all below it. `ports` None
    stands for the host's range. `services` None stands for those that the origin itself declares, `servers` None for
    every server of the host, and `domains` None for those at which no other origin has an app. `places` are clusters
    beside this host itself.
    """

    paths: tuple[str, ...] = ()
    commands: bool = False
    apps: tuple[str, ...] = ("*",)
    ports: tuple[range, ...] | None = None
    hosts: tuple[str, ...] = ("127.0.0.1",)
    services: tuple[str, ...] | None = None
    servers: tuple[str, ...] | None = None
    domains: tuple[str, ...] | None = None
    repositories: tuple[str, ...] = ()
    places: tuple[str, ...] = ()
    secrets: bool = True
