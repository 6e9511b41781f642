"""s6: a directory of services, each with a run script and an `s6-supervise` of its own."""

from benchmarks import tools
from benchmarks.peers.peer import App, wait_for_file
from benchmarks.peers.service_directory import ServiceDirectory


class S6(ServiceDirectory):
    """`s6-svscan` looks at its directory when it is told to."""

    name = "s6"
    program = "s6-svscan"
    ways = {  # noqa: RUF012  what it is, is told by the base
        "drop": "a service's directory, and `s6-svscanctl -a`",
        "restart": "its `s6-supervise`, once a second at most",
        "deploy": "`s6-svc -r`",
    }

    def start(self) -> None:
        # By default it takes 500 services.
        self.process = self.spawn([tools.tool("s6-svscan").path, "-c", "1000", str(self.services)])

    def drop(self, app: App) -> None:
        self.apps.append(app)
        self.add(app)
        wait_for_file(self.services / ".s6-svscan" / "control")
        self._run("s6-svscanctl", "-a", str(self.services))

    def deploy(self, app: App) -> None:
        self._run("s6-svc", "-r", str(self.services / app.name))

    def supervised(self) -> dict[str, int]:
        """What each `s6-supervise` tells: it outlives `s6-svscan`, and the next one's gives way to it."""
        found: dict[str, int] = {}
        for app in self.apps:
            told = self._run("s6-svstat", "-o", "pid", str(self.services / app.name)).strip()
            if told.isdecimal():
                found[app.name] = int(told)
        return found

    def _run(self, program: str, *words: str) -> str:
        return self.tell(tools.neighbour("s6-svscan", program), *words)
