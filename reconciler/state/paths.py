"""Paths below the state directory, and the default path of the state directory."""

import os
from pathlib import Path

from reconciler.linux.dataclass import dataclass
from reconciler.planning.address import SOCKET_SUFFIX

# A socket's path has 107 bytes (unix(7)); multiprocessing's are 32 longer than the directory that it is given.
# Of a build cell: what its installers have fetched and built.
OWN_CACHE = "cache"
_LONGEST_SCRATCH = 107 - 40


@dataclass(frozen=True, slots=True, kw_only=True)
class StatePaths:
    """The paths below one state directory."""

    state: Path

    @property
    def database(self) -> Path:
        return self.state / "reconciler.db"

    @property
    def lock(self) -> Path:
        return self.state / "lock"

    @property
    def earlier_wakeup_pipe(self) -> Path:
        """The pipe on which workers that earlier versions started wake the daemon."""
        return self.state / "doorbell"

    @property
    def wakeups(self) -> Path:
        """The directory of the files by which workers wake the daemon."""
        return self.state / "wakeups"

    def wakeup_file(self, name: str) -> Path:
        """Return the file that the workers of an app open to wake the daemon."""
        return self.wakeups / name

    @property
    def control(self) -> Path:
        """The socket of the daemon's control requests."""
        return self.state / "control.sock"

    @property
    def api(self) -> Path:
        """The socket of the API and the page."""
        return self.state / "api.sock"

    @property
    def web_log(self) -> Path:
        """The log of the web process, empty unless it fails."""
        return self.state / "web.log"

    @property
    def web_sessions(self) -> Path:
        """The list of the page's sessions."""
        return self.state / "sessions.json"

    @property
    def login_links(self) -> Path:
        """The list of the page's login links."""
        return self.state / "login-links.json"

    @property
    def page_token(self) -> Path:
        """The token of the page's address where no setting names one."""
        return self.state / "page-token"

    @property
    def page_port(self) -> Path:
        """The port at which the page was served last where no setting names one."""
        return self.state / "page-port"

    @property
    def down(self) -> Path:
        """The pid of the daemon that `down` is ending, as long as it does."""
        return self.state / "down"

    @property
    def keeper(self) -> Path:
        """The socket of the keeper, which holds the listeners while no daemon runs."""
        return self.state / "keeper.sock"

    @property
    def users(self) -> Path:
        """The record of which app has which user."""
        return self.state / "users.json"

    @property
    def network_rules(self) -> Path:
        """What the next daemon has to know of the rules of where apps connect to; gone once there are none."""
        return self.state / "network-rules"

    @property
    def images(self) -> Path:
        """The directory of the images of apps, each a layout, APP; there once an image was made of one."""
        return self.state / "images"

    @property
    def pushed_images(self) -> Path:
        """The directory of what is known of images in registries, APP.json; no app has such a name."""
        return self.images / ".pushed"

    @property
    def clusters(self) -> Path:
        """The directory of what is known of apps in clusters, CLUSTER/APP; there once an app was placed in one."""
        return self.state / "clusters"

    @property
    def fork_server(self) -> Path:
        """The record of the fork server that the next daemon is to start first."""
        return self.state / "fork-server.json"

    @property
    def fork_servers_log(self) -> Path:
        """The log of the fork servers, empty unless they fail."""
        return self.state / "templates.log"

    @property
    def fork_servers(self) -> Path:
        """The directory of the environments in which fork servers of isolated apps begin."""
        return self.state / "fork-servers"

    @property
    def manifests(self) -> Path:
        """The directory of manifests of a host that has those of origins in git, and no other directory."""
        return self.state / "manifests"

    @property
    def git(self) -> Path:
        """The directory of git's own configuration, and of what was fetched from each repository."""
        return self.state / "git"

    def origin(self, name: str) -> Path:
        """Return the directory of an origin in git: its record, the files of its commits, and which is in force."""
        return self.state / "origins" / name

    def current(self, name: str) -> Path:
        """Return the link to the files of the commit of an origin that is in force."""
        return self.origin(name) / "current"

    @property
    def sources(self) -> Path:
        """The directory of what apps take from repositories: by repository, and by what is followed there."""
        return self.state / "sources"

    def source(self, name: str) -> Path:
        """Return the directory of a repository's files, or of the record of something followed, by its name."""
        return self.sources / name

    @property
    def proxy(self) -> Path:
        """The directory of the proxy that the daemon keeps, and of what is known of domains."""
        return self.state / "proxy"

    @property
    def listeners(self) -> Path:
        """The directory of the unix sockets at which apps listen."""
        return self.state / "listeners"

    def socket(self, name: str) -> Path:
        """Return the unix socket of an app that listens at no port."""
        return self.listeners / f"{name}{SOCKET_SUFFIX}"

    @property
    def domains(self) -> Path:
        """The record of every domain: which app has it, and how it is answered."""
        return self.proxy / "domains.json"

    @property
    def proxy_wanted(self) -> Path:
        """The configuration that the proxy is to have, with where it is told."""
        return self.proxy / "wanted.json"

    @property
    def environments(self) -> Path:
        return self.state / "environments"

    @property
    def cache(self) -> Path:
        return self.state / "cache"

    @property
    def apps(self) -> Path:
        return self.state / "apps"

    def app(self, name: str) -> Path:
        return self.state.joinpath("apps", name)

    def service(self, name: str, service: str) -> Path:
        """Return the directory of a service, by its name and id."""
        return self.state / "services" / name / service

    @property
    def backups(self) -> Path:
        return self.state / "backups"

    def builds(self, name: str) -> Path:
        return self.state.joinpath("apps", name, "builds")

    def build_cell(self, name: str) -> Path:
        """Return the directory for what an isolated app's builds fetch and make."""
        return self.app(name) / "build-cell"

    def revisions(self, name: str) -> Path:
        return self.state.joinpath("apps", name, "revisions")

    def readiness(self, name: str) -> Path:
        return self.state.joinpath("apps", name, "passed")

    def foreground(self, name: str) -> Path:
        """Return the directory of an app's programs that run in the foreground, each with one of its own."""
        return self.app(name) / "foreground"

    def load_history(self, name: str) -> Path:
        """Return the file with the load of an app over the last hour and day."""
        return self.app(name) / "load"

    @property
    def short_scratches(self) -> Path:
        """The directories for temporary files that would have too long a name below their app's directory."""
        return self.state / "tmp"

    def scratch(self, name: str) -> Path:
        """Return an app's directory for temporary files: by a short name where sockets in it would have no room."""
        own = self.state.joinpath("apps", name, "tmp")
        if len(os.fsencode(own)) <= _LONGEST_SCRATCH:
            return own
        import hashlib  # loads OpenSSL: commands that only look wait for it

        return self.short_scratches / hashlib.sha256(name.encode()).hexdigest()[:8]

    def home(self, name: str) -> Path:
        """Return the directory for an app's own files, which the daemon never removes."""
        return self.state.joinpath("homes", name)

    def persisted(self, name: str) -> Path:
        """Return the directory for what an app's manifest says to persist; every build links to it."""
        return self.home(name) / "persist"

    def written(self, name: str, build: str) -> Path:
        """Return the directory for the files that an app had written into a build that is gone."""
        return self.home(name) / "from-builds" / build

    @property
    def logs(self) -> Path:
        return self.state / "logs"

    @property
    def drained(self) -> Path:
        """The record of how far the log drain has read each log, and of how its target does."""
        return self.state / "drained.json"

    @property
    def tasks(self) -> Path:
        """The directory of what the runners of tasks leave for a daemon, and of the sockets of terminals."""
        return self.state / "tasks"

    def task_result(self, task: str) -> Path:
        """Return the file in which the runner of a task says how it ended."""
        return self.tasks / f"{task}.result"

    def task_logs(self, name: str) -> Path:
        """Return the directory of the logs of an app's tasks."""
        return self.logs / name / "tasks"

    def task_log(self, name: str, task: str) -> Path:
        """Return the path of what a task printed."""
        return self.task_logs(name) / f"{task}.log"

    def log(self, name: str, which: str) -> Path:
        """Return the path of a log; `which` is app, access or staging, or task: and the id of one."""
        if which.startswith("task:"):
            return self.task_log(name, which.removeprefix("task:"))
        return self.state.joinpath("logs", name, f"{which}.log")


def default_state() -> Path:
    """Return the default state directory, used without --state and RECONCILER_STATE."""
    if os.geteuid() == 0:
        return Path("/var/lib/reconciler")
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local/state") / "reconciler"


def unusable(state: Path) -> str:
    """Return why no app could be served from a state directory of this name, empty if one could."""
    try:
        str(state).encode()
    except UnicodeEncodeError:
        return f"cannot use {str(state)!r}: Python environments need a path of UTF-8; name another one with --state"
    if ":" in str(state):
        return f"cannot use {state}: a colon separates the directories of PATH; name another one with --state"
    return ""
