"""The proxy of this host as a World: the one key `proxy`, whose plan is made of the routings of all apps at once.

What the proxy has is asked of it, never remembered; nothing that a deploy does is a change here.
"""

import asyncio
import json
import os
import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from typing import Any

from reconciler.convergence.wake_queue import WakeQueue
from reconciler.convergence.world import Report
from reconciler.linux.files import replace_file
from reconciler.planning.address import Address
from reconciler.planning.apps.app import HERE, App
from reconciler.planning.cache import Planner
from reconciler.planning.desired_state import DesiredState
from reconciler.planning.plan import Plan
from reconciler.planning.routing.actions import (
    Action,
    ConfigureProxy,
    EndProxy,
    LayFiles,
    LinkNames,
    LookAtProxy,
    StartProxy,
    TryDomains,
)
from reconciler.planning.routing.caddy import Abilities, dialled_in, names_in
from reconciler.planning.routing.observed import AppFiles, ObservedProxy
from reconciler.planning.routing.plan import Routes, led, plan, published, wanted
from reconciler.planning.routing.route import Entry, Led, Route
from reconciler.planning.routing.routing import Routing
from reconciler.planning.subject import Subject
from reconciler.routing.admin import LOG, SOCKET, ConfigRefused
from reconciler.routing.answers import answers_of
from reconciler.routing.app_files import read_app_files
from reconciler.routing.client_keys import ClientKeys
from reconciler.routing.domain_rows import DomainRecord, rows_of
from reconciler.routing.driver import Driver
from reconciler.routing.name_links import NameLinks
from reconciler.routing.registry import driver_of
from reconciler.routing.static_files import StaticFiles
from reconciler.settings.proxy import Proxy
from reconciler.state.journal import EventKind, Journal
from reconciler.state.paths import StatePaths

PROXY = "proxy"


class RoutingWorld:
    """The World of the proxy. `publish` receives every report on it, and None once nothing of ours is left in it.

    `static` are the static files of the apps, which the proxy serves itself.
    `reached` says where an app listens now; `on_change` is called when the proxy has been seen to have something else.
    `entered` are the clusters that it is to lead clients to.
    """

    def __init__(
        self,
        proxy: Proxy,
        paths: StatePaths,
        journal: Journal,
        *,
        wakeups: WakeQueue,
        publish: Callable[[Subject, Report | None], None],
    ) -> None:
        self._proxy = proxy
        self._paths = paths
        self._journal = journal
        self.key, self.wakeups = PROXY, wakeups
        self._publish = publish
        self._keys = ClientKeys(paths.proxy / "key")
        self._record = DomainRecord(paths.domains)
        self._driver: Driver = driver_of(proxy, paths.proxy, lambda: self._wake())  # noqa: PLW0108  built before it
        self.static = StaticFiles(proxy, paths)
        self.reached: Callable[[App], Address | Entry | None] = lambda app: app.address
        self.entered: set[str] = set()
        self.on_change: Callable[[], None] = lambda: None
        self._apps: Mapping[str, App] = {}
        self._routings: Mapping[str, Routing] = {}
        self._asked: Routes | None = None
        self._failure = ""
        self._certificates: Mapping[str, str] = {}
        self._stored: object = None
        self._addresses: frozenset[Address | None] = frozenset()
        # What was found out about addresses, of a configuration and of links that are held for it.
        self._dialled: tuple[object, object, dict[Address, bool]] = (None, None, {})
        self._led: tuple[object, object, Mapping[str, str] | None] = (None, None, None)
        self._links = NameLinks(paths.proxy)
        self._observed = ObservedProxy(left=paths.domains.exists(), links=self._links.look())
        self._planner: Planner[Routes, ObservedProxy, Plan[Action]] = Planner(plan)

    # Desired state

    def follow(self, desired: DesiredState) -> Mapping[str, Routes]:
        """Learn which apps have domains, and return all of them as the one value that the proxy is to serve."""
        apps = {
            name: app
            for name, app in desired.apps.items()
            if app.routing is not None and app.routing.domains and self._is_reached(app)
        }
        self._apps = apps
        self._addresses = frozenset(app.address for app in apps.values() if app.state != "stopped")
        self._routings = {name: app.routing for name, app in apps.items() if app.routing is not None}
        self.static.follow(self._routings)
        routes = tuple(self._route(app, app.routing) for _, app in sorted(apps.items()) if app.routing is not None)
        if not routes:
            self._asked = None
            return {}
        with suppress(OSError):  # what needs the directory says what is wrong with it; other apps are not concerned
            self._paths.proxy.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._asked = Routes(
            routes=routes,
            front=self._proxy.front,
            driver=self._proxy.driver,
            settle_s=self._proxy.settle_s,
            log=str(self._paths.proxy / LOG),
            links=self._proxy.links,
        )
        self._note(files=self._files(), left=True)
        return {PROXY: self._asked}

    def _is_reached(self, app: App) -> bool:
        """Return whether an app listens here, is led to in a cluster, or serves here until it is there."""
        return app.address is not None or (
            app.recipe.web and app.place != HERE and (app.place in self.entered or self.reached(app) is not None)
        )

    def led(self, app: str, cluster: str) -> Led:
        """Return where the proxy leads the clients of an app, as a cluster sees it and as far as it is known now."""
        if self._asked is None:
            return "nowhere" if not self.names() else "unknown"
        if self._led[0] is not self._asked or self._led[1] is not self._observed:
            self._led = self._asked, self._observed, led(self._asked, self._observed)
        if (places := self._led[2]) is None:
            return "unknown"
        place = places.get(app)
        return "nowhere" if place is None else "here" if place == HERE else "there" if place == cluster else "elsewhere"

    def names(self) -> frozenset[str]:
        """Return the one key, if something of ours is, or may be, in the proxy."""
        is_there = self._asked is not None or self._observed.left or self._driver.running or bool(self.static.laid)
        return frozenset((PROXY,)) if is_there else frozenset()

    def key_of(self, app: str) -> str:
        """Return the key by which an app's instances know the proxy."""
        return self._keys.of(app)

    @property
    def names_client(self) -> bool:
        """Whether X-Forwarded-For is the client alone, and no chain that a trusted proxy may have begun."""
        return not self._proxy.front.trusted

    def _route(self, app: App, routing: Routing) -> Route:
        return Route(
            app=app.name,
            routing=routing,
            upstream="" if app.address is None else self._upstream(app.address),
            patience_s=app.patience_s,
            key=self.key_of(app.name),
            stopped=app.state == "stopped",
            files=self.static.directory_of(app.name, routing),
        )

    def _upstream(self, address: Address) -> str:
        """Return an address as the proxy dials it; of one that we keep, a path begins at its own directory."""
        if address.path:
            is_kept = self._proxy.driver == "kept"
            return f"unix/{os.path.relpath(address.path, self._paths.proxy) if is_kept else address.path}"
        host = address.reached_at
        return f"[{host}]:{address.port}" if ":" in host else f"{host}:{address.port}"

    def dials(self, address: Address) -> bool:
        """Return whether the proxy dials an address; True as well while it is not known what it has."""
        config, links = self._observed.config, self._observed.links
        if self._dialled[0] is not config or self._dialled[1] is not links:
            self._dialled = config, links, {}
        known = self._dialled[2]
        if address not in known:
            known[address] = self._is_dialled(address)
        return known[address]

    def _is_dialled(self, address: Address) -> bool:
        config, upstream = self._observed.config, self._upstream(address)
        if any(link.target == upstream.removeprefix("unix/") for link in self._observed.links.values()):
            return True
        if config is None or isinstance(config, str):
            return config is None or _is_dialled_in(config, address.path or upstream)
        return upstream in dialled_in(config)

    def withdraws(self, address: Address) -> bool:
        """Return whether the proxy dials an address, or may, that no app has any more, and is about to be told so.

        False for one that cannot be told: no app waits for that.
        """
        return not self._failure and address not in self._addresses and bool(self.names()) and self.dials(address)

    def _files(self) -> Mapping[str, AppFiles]:
        found = {name: read_app_files(name, routing) for name, routing in self._routings.items()}
        return {name: files for name, files in found.items() if files is not None}

    # The World

    def now(self) -> float:
        """Return monotonic seconds."""
        return time.monotonic()

    def plan(self, name: str, asked: Routes | None) -> Plan[Action]:
        """Plan what to do about the proxy now."""
        return self._planner.plan(name, asked, self.observe(name), self.now())

    def when_failing(self, name: str) -> str:  # noqa: ARG002  there is one
        """Return the state of a proxy that cannot be told; apps serve on at their addresses."""
        return "failing"

    def observe(self, name: str) -> ObservedProxy:  # noqa: ARG002  there is one
        """Return what is true of the proxy, as it was seen last."""
        reached = {name: self.reached(app) for name, app in self._apps.items()}
        upstreams = {name: self._upstream(each) for name, each in reached.items() if isinstance(each, Address)}
        entries = {name: each for name, each in reached.items() if isinstance(each, Entry)}
        self._note(running=self._driver.running, version=self._driver.version, upstreams=upstreams, entries=entries)
        self._note(alive=self.static.alive(), laid=self.static.laid, kept=self.static.kept)
        self._note(lacking=self.static.lacking)
        return self._observed

    async def do(self, name: str, action: Action) -> None:  # noqa: ARG002  there is one
        """Carry out one action. Raises ProxyError or OSError if it fails."""
        match action:
            case StartProxy():
                self._note(config=None, answers={})
                await self._driver.start(action.config)
                self._write("started", f"the proxy was started{_shortcoming(self._driver.version)}", action)
            case LookAtProxy():
                await self._look()
            case ConfigureProxy():
                await self._configure(action)
            case LinkNames():
                await self._link(action)
            case TryDomains():
                met = await answers_of(action.names, self._published(), self._proxy, self._observed, self._log)
                self._note(answers={**self._current_answers(), **met})
            case LayFiles():
                await self.static.lay(action)
            case EndProxy():
                await self._driver.end()
                self._note(config=None, left=False, answers={})
                self._write("stopped", "the proxy was ended", action)
        if self._asked is None and not self._observed.left:
            self.store_rows()
            self._publish(Subject("proxy"), None)
            self.on_change()

    def report(self, name: str, report: Report) -> None:  # noqa: ARG002  there is one
        """Pass a report on, and store what is known of each domain."""
        subject, failed_before = Subject("proxy"), bool(self._failure)
        self._failure = report.message if report.state == "failing" else ""
        if self._failure and not failed_before:
            self.on_change()
        self.store_rows()
        self._publish(subject, report)
        if report.failed_now:
            self._journal.write(subject, "failed", report.message, f"try {report.failures}", report.reason)

    def store_rows(self) -> None:
        """Store what is known of each domain, for commands that look."""
        config = self._observed.config
        if self._asked is None:
            if not self._observed.left:  # until then the record says that something may be left
                self._record.write(())
            return
        self._store_wanted(self._asked)
        names = names_in(config) if isinstance(config, dict) else self._names_of_all() if config else frozenset()
        names |= self._observed.links.keys()
        self._record.write(tuple(rows_of(self._asked, self._observed, names, self._failure)))

    def _store_wanted(self, asked: Routes) -> None:
        observed = self._observed
        if self._stored == (asked, observed.files, observed.version, observed.limited):
            return
        self._stored = (asked, observed.files, observed.version, observed.limited)
        # Of a Caddy of the host's only our part, without what others have there.
        config = wanted(asked, replace(self._observed, config=None))
        proxy = self._proxy
        admin = self._paths.proxy / SOCKET if proxy.run else proxy.admin
        facts = {
            "driver": proxy.driver, "admin": str(admin), "file": str(proxy.file.path) if proxy.file else "",
            "front": asdict(proxy.front), "config": config,
        }  # fmt: skip
        with suppress(OSError):  # a full disk costs what 'proxy' shows
            replace_file(self._paths.proxy_wanted, json.dumps(facts), durable=False)

    def close(self) -> None:
        """Stop watching the proxy, which goes on."""
        self._driver.close()

    def on_report(self, subject: Subject, report: Report | None) -> None:  # noqa: ARG002  that there is one is enough
        """Look at an app's static files when something of it has changed, and another build may serve."""
        if subject.kind == "app" and self.static.has(subject.name):
            self.wakeups.wake(PROXY)

    # The actions

    async def _link(self, action: LinkNames) -> None:
        try:
            await asyncio.to_thread(self._links.make, action.names)
        finally:
            self._note(links=self._links.look())
        self._note(left=self._asked is not None or self._observed.left)
        self._write("configured", "the names were linked", action)
        self.on_change()

    async def _look(self) -> None:
        files = await asyncio.to_thread(self._files)
        try:
            config = await self._driver.look()
        except BaseException:
            self._note(config=None)
            raise
        before = self._observed.config
        if config == before:
            config = before  # the very object: plans compare it
        left = self._asked is not None or bool(names_in(config) if isinstance(config, dict) else config)
        self._note(config=config, seen_at=self.now(), files=files, left=left, links=self._links.look())
        if config is not before:
            self.on_change()

    async def _configure(self, action: ConfigureProxy) -> None:
        try:
            await self._driver.configure(action.config)
        except ConfigRefused:
            if self._observed.version or self._observed.limited:
                self._note(limited=False)
                raise
            self._note(limited=True)  # an older Caddy, whose version nobody can ask for: without its newer fields
            return
        finally:
            self._note(config=None)
        self._note(changed_at=self.now(), left=self._asked is not None, answers=self._answers_still_true())
        self._write("configured", "the proxy was configured", action)

    def _published(self) -> tuple[Route, ...]:
        return () if self._asked is None else published(self._asked, self._observed)

    def _names_of_all(self) -> frozenset[str]:
        return frozenset(name for route in self._published() for name in route.routing.names)

    def _current_answers(self) -> dict[str, Any]:
        names = self._names_of_all()
        return {name: answer for name, answer in self._observed.answers.items() if name in names}

    def _answers_still_true(self) -> dict[str, Any]:
        """Return the answers but those of apps whose own certificate has just been replaced."""
        before = self._certificates
        self._certificates = {app: files.certificate for app, files in self._observed.files.items()}
        renewed = {app for app, content in self._certificates.items() if content != before.get(app)}
        asked_anew = {name for app in renewed & self._routings.keys() for name in self._routings[app].names}
        return {name: answer for name, answer in self._observed.answers.items() if name not in asked_anew}

    @property
    def _log(self) -> str:
        return str(self._paths.proxy / LOG) if self._proxy.driver == "kept" else ""

    def _note(self, **changes: Any) -> None:
        changed = {name: value for name, value in changes.items() if getattr(self._observed, name) != value}
        if changed:
            self._observed = replace(self._observed, **changed)

    def _wake(self) -> None:
        self._note(config=None)
        self.wakeups.wake(PROXY)

    def _write(self, kind: EventKind, text: str, action: Action) -> None:
        self._journal.write(Subject("proxy"), kind, text, action.cause, action.reason)


def _is_dialled_in(text: str, upstream: str) -> bool:
    """Return whether the file of a proxy names an upstream, a whole one: in `http://…`, `unix:…` or `unix@…`."""
    before = "[:@]" if upstream.startswith("/") else "[/ ]"
    return re.search(rf'(?<={before}){re.escape(upstream)}(?=[;"\s]|$)', text) is not None


def _shortcoming(version: tuple[int, ...]) -> str:
    """Return what a Caddy of a version lacks, as the end of a sentence; "" for one that lacks nothing."""
    if Abilities.of(version).keeps_streams:
        return ""
    shown = ".".join(map(str, version))
    return f"; Caddy {shown} closes every websocket whenever names change, 2.7 or newer does not"
