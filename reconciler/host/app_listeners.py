"""The addresses on which each app listens: opened, fetched back, kept for the next daemon, and closed.

An address that is open stays open until the plan closes it: a deploy, a crash or a restart of the daemon refuses no
connection. When an address passes from one app to another, so does its socket: for a while both have it.
"""

import asyncio
import contextlib
import os
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from reconciler.linux.listening_paths import remove_at
from reconciler.planning.address import SOCKET_SUFFIX, Address, Spot
from reconciler.planning.apps.actions import Listen
from reconciler.planning.apps.app import App
from reconciler.planning.apps.observed import Instance
from reconciler.planning.apps.revision import Revision
from reconciler.planning.reason import Reason
from reconciler.serving.instances import Instances
from reconciler.serving.keeper import Keeper
from reconciler.serving.listening_sockets import Listeners, fetched_from, is_reached
from reconciler.serving.second_listeners import SecondListeners
from reconciler.state.journal import EventKind

# Each empty set that is built is an object of its own, and every app is observed.
_NOWHERE: frozenset[Address] = frozenset()
# How soon a listener that an app shut down is open again, and how rarely that is told, and done for a socket.
_REOPENED_AFTER_S, _TOLD_EVERY_S = 0.2, 60.0
# What the keeper calls the second listener of an app: no app can be called so.
_SECOND = "+canary"


class AppListeners:
    """The listeners of every app. `on_connection` is called with an app's name when a client wakes it.

    `directories` are those in which apps may have sockets, the daemon's own first.
    """

    def __init__(
        self,
        instances: Instances,
        keeper: Keeper,
        on_connection: Callable[[str], None],
        directories: tuple[Path, ...],
        record: Callable[[str, EventKind, str, str, str], None],
    ) -> None:
        self._directories = directories
        self._record = record
        self._instances = instances
        self._keeper = keeper
        self._on_connection = on_connection
        self._listeners = Listeners()
        self.second = SecondListeners(self._listeners)
        self._open: dict[str, frozenset[Address]] = {}
        self._at_spot: defaultdict[Spot, set[str]] = defaultdict(set)
        self._desired: dict[str, tuple[Address, ...]] = {}
        self._desired_at_spot: defaultdict[Spot, set[str]] = defaultdict(set)
        self._unserved: dict[str, float] = {}
        self._shut_at: dict[str, float] = {}

    def names(self) -> frozenset[str]:
        """Return the apps that were given a listener."""
        return frozenset(self._open)

    def of(self, name: str) -> frozenset[Address]:
        """Return the addresses that are open for an app."""
        return self._open.get(name, _NOWHERE)

    def holding(self, name: str) -> frozenset[Address]:
        """Return the addresses at which the daemon serves the app's holding page."""
        return self._listeners.holding(self.of(name))

    def armed(self, name: str) -> frozenset[Address]:
        """Return the addresses whose next connection wakes the app."""
        return self._listeners.armed(self.of(name))

    def fd(self, address: Address) -> int:
        """Return the descriptor of a listener."""
        return self._listeners.fd(address)

    def queue(self, name: str) -> int:
        """Return how many connections wait where an app listens; 0 where that is not known."""
        found = (self._listeners.queue(address) for address in self.of(name))
        return sum(queue.length for queue in found if queue is not None)

    def expect(self, name: str, arrived: Callable[[], None]) -> None:
        """Call `arrived`, at least once, at the next connection to an app."""
        for address in self.of(name):
            self._listeners.expect(address, arrived)

    def ports(self) -> dict[str, int]:
        """Return the port of each app that has instances, 0 for one with a socket alone."""
        lives = ((app, live) for app in self._instances.apps() for live in self._instances.lives(app))
        return {app: address.port for app, live in lives for address in live.record.addresses}

    def passed(self, revision: Revision, second: int | None) -> tuple[int, ...]:
        """Return the descriptors to hand to an instance, none to one without a listener; `second` is a canary's."""
        return (second,) if second is not None else tuple(map(self.fd, revision.addresses))

    def unserved_since(self, name: str, instances: tuple[Instance, ...]) -> float | None:
        """Return since when (monotonic) no instance, of any app, accepts what one of the app's listeners receives."""
        served = {a for i in instances if i.serves for a in i.addresses} if instances else _NOWHERE
        passing: frozenset[Address] | None = None
        for address in self.of(name):
            if address in served:
                continue
            if passing is None:
                passing = self._passing(name, wanted=not served)
            if address not in passing and not self._others_serve(name, address):
                return self._unserved.setdefault(name, time.monotonic())
        self._unserved.pop(name, None)
        return None

    def ceded(self, name: str, instances: tuple[Instance, ...]) -> frozenset[Address]:
        """Return the addresses of an app's instances that another app desires, and where that one serves already."""
        if not instances:
            return _NOWHERE
        left = {address for i in instances for address in i.addresses}.difference(self._desired.get(name, ()))
        return frozenset(address for address in left if self._is_claimed(name, address)) or _NOWHERE

    def neighbours(self, name: str, *addresses: Address) -> frozenset[str]:
        """Return the other apps with a listener at the port, or the socket, of an address."""
        return frozenset().union(*(self._at_spot[address.spot] - {name} for address in addresses))

    # Adopt what an earlier daemon opened

    def take_back(self) -> None:
        """Take the listeners that the keeper held while no daemon ran."""
        for name, address, kept in self._keeper.take():
            if name.endswith(_SECOND):
                self.second.take(address, kept)
            elif is_reached(address, kept):
                self._listeners.take(address, kept)
                self._opened(name, address)
            else:  # the file of the socket is gone: it is opened again, as if it had been lost
                self._keeper.drop(name, address)
                kept.close()

    def fetch(self, name: str, address: Address, pid: int, *, second: bool = False) -> None:
        """Take a copy of a listener from a process that has it, unless it is open already; `second`, of a canary's."""
        if second:
            self._fetch_second(name, address, pid)
            return
        if address in self.of(name):
            return
        with contextlib.suppress(ProcessLookupError):
            pidfd = os.pidfd_open(pid)
            try:
                if self._listeners.fetch(address, pidfd, pid):
                    self._opened(name, address)
            finally:
                os.close(pidfd)

    def _fetch_second(self, name: str, address: Address, pid: int) -> None:
        if self.second.held(address):
            return
        with contextlib.suppress(ProcessLookupError):
            pidfd = os.pidfd_open(pid)
            try:
                fetched = fetched_from(address, pidfd, pid)
            finally:
                os.close(pidfd)
            if fetched is not None:
                self.second.take(address, fetched)
                self._keeper.keep(f"{name}{_SECOND}", address, self.second.fd(address))

    def divided(self) -> tuple[tuple[str, Address], ...]:
        """Return each app and address with a second listener."""
        return tuple((name, a) for name, opened in self._open.items() for a in opened if self.second.held(a))

    def is_at_first(self, address: Address, pid: int) -> bool | None:
        """Return whether a process has the first socket of an address; None if that is not known."""
        return self._listeners.is_known_to(pid, address)

    def mark_detached(self) -> None:
        """Mark every instance that listens on another socket than ours: its connections are not seen here."""
        for name in self._instances.apps():
            for live in self._instances.lives(name):
                if (process := live.process) is None or live.end is not None:
                    continue
                addresses = live.record.addresses
                lost = [a for a in addresses if self._listeners.is_known_to(process.pid, a) is False]
                if any(not self.second.is_known_to(address, process.pid) for address in lost):
                    self._instances.mark_detached(name, live.record.id)

    def resume(self, name: str) -> None:
        """Pass on again what a daemon that ended passed on between an app's port and its socket.

        What else overlaps is not known before `follow`, which says whose it is.
        """
        lives = self._instances.lives(name)
        if not self._listeners.is_relaying and all(self.of(name) <= {*live.record.addresses} for live in lives):
            return  # nothing to pass on, which is so of almost all apps
        if (newest := _newest(self._instances.of(name))) is not None:
            self._pass_between(name, newest.addresses)

    def complete(self, name: str, address: Address) -> bool:
        """Return whether an app has both listeners of a canary; a second one that is alone becomes the first."""
        if self.second.held(address) and address not in self.of(name):
            self.join(name, address, promoted=True)
        return self.second.held(address)

    # Actions

    async def open_second(self, name: str, address: Address) -> None:
        """Open a second listener at an address that is open. Raises CannotDivide."""
        await self.second.open(address)
        self._keeper.keep(f"{name}{_SECOND}", address, self.second.fd(address))

    def join(self, name: str, address: Address, *, promoted: bool) -> None:
        """Leave one listener of two: the second if that is `promoted`."""
        self.second.joined(address, promoted=promoted)
        if promoted:
            self._opened(name, address)
        self._keeper.drop(f"{name}{_SECOND}", address)

    def listen(self, name: str, action: Listen) -> str | None:
        """Open an address; return how ("fetched back", or nothing to say), or None when it was open already."""
        address = action.address
        if address in self.of(name):
            return None
        sharing = self._sharing(name, address)
        if sharing:
            self._opened(name, address)
            return f"its socket passes on from {', '.join(sorted(sharing))}"
        owners = [(i, p) for i, p in self._instances.processes(name) if address in i.addresses and not i.detached]
        fetched = any(self._listeners.fetch(address, process.fd, process.pid) for _, process in owners[:1])
        if not fetched and owners:
            self._listeners.open_beside(address)
            for instance, _ in owners:
                self._instances.mark_detached(name, instance.id)
        elif not fetched:
            if address.path and Path(address.path).parent == self._directories[0]:
                with contextlib.suppress(OSError):  # opening it says why
                    Path(address.path).parent.mkdir(mode=0o700, exist_ok=True)
            self._listeners.open(address)
        self._opened(name, address)
        return "fetched back" if fetched else ""

    def unlisten(self, name: str, address: Address) -> frozenset[str]:
        """Close an address, or leave its socket to the apps that have it or desire it; return those."""
        heirs = self._sharing(name, address)
        for heir in [h for h in self._desired_at_spot[address.spot] - {name} if address in self._desired[h]]:
            self._opened(heir, address)
            heirs |= {heir}
        self._keeper.drop(name, address)
        if heirs:
            self._listeners.disarm(address)  # the next connection is for the heir
        else:
            self._listeners.remove(address)
        self._closed(name, address)
        return heirs

    def succeed(self, app: str, addresses: tuple[Address, ...]) -> None:
        """Pass on to where an instance serves now the clients of overlapping addresses that are to close.

        Also those of the app's other listeners, if the one is a port and the other a socket: the proxy still dials it.
        """
        for address in addresses:
            for name in self._at_spot[address.spot]:
                for other in self.of(name):
                    if other != address and other.overlaps(address) and other not in self._desired.get(name, ()):
                        self._listeners.relay(other, address)
        self._pass_between(app, addresses)

    def reached(self, name: str, instances: tuple[Instance, ...], desired: Address) -> Address:
        """Return where the proxy is to reach an app: where the newest instance serves, else where it listens."""
        serving = _newest(instances)
        if serving is not None and serving.address is not None:
            return serving.address
        opened = self.of(name)
        return desired if desired in opened else min(opened, key=str, default=desired)

    def arm(self, name: str, address: Address) -> None:
        """Wake the app at the next connection, also at a port or a socket that it is passing from."""
        self._listeners.arm(address, partial(self._on_connection, name))
        beside = self.armed(name).intersection(self._desired.get(name, ())) - {address}
        self._pass_between(name, (address, *beside))

    def serve_holding_page(self, address: Address, page: str | None) -> None:
        """Answer 503 at this address."""
        self._listeners.serve_holding_page(address, page)

    def stop_holding_page(self, address: Address) -> None:
        """Answer no more at this address."""
        self._listeners.stop_holding_page(address)

    def follow(self, apps: Mapping[str, App]) -> None:
        """Adjust what is open to what is desired: the holding page, and whether connections wake the app."""
        self._desired = {n: app.addresses for n, app in apps.items() if app.state != "stopped" and app.addresses}
        self._desired_at_spot.clear()
        for name, addresses in self._desired.items():
            for address in addresses:
                self._desired_at_spot[address.spot].add(name)
        for app in apps.values():
            if not app.may_sleep:
                for address in self.of(app.name):
                    self._listeners.disarm(address)  # it is started without a connection, and counts as up when it is
            for address in self.of(app.name):
                self._listeners.show(address, app.holding_page)

    def forget(self, name: str) -> None:
        """Forget an app that was removed."""
        for address in self.of(name):
            self._closed(name, address)
        self._open.pop(name, None)
        self._unserved.pop(name, None)
        self._shut_at.pop(name, None)
        for directory in self._directories:  # of one that no daemon could fetch back
            remove_at(directory / f"{name}{SOCKET_SUFFIX}")

    def close_all(self) -> None:
        """Close every copy of this process; instances keep theirs."""
        self.second.close_all()
        self._listeners.close_all()

    def _opened(self, name: str, address: Address) -> None:
        self._open[name] = self.of(name) | {address}
        self._at_spot[address.spot].add(name)
        self._keeper.keep(name, address, self._listeners.fd(address))
        self._listeners.when_shut(address, partial(self._on_shut, name, address))
        self._listeners.when_left_alone(address, partial(self._tell_left_alone, name, address))

    def _tell_left_alone(self, name: str, address: Address, pause_s: float) -> None:
        text, cause = f"accepting nothing at {address} for {pause_s:g} s", "a process of the app has accept wait there"
        self._record(name, "listening", text, cause, Reason.NOT_LISTENING)

    def _on_shut(self, name: str, address: Address) -> None:
        """Open a listener again that the app shut down, in a moment: it may do so again and again.

        Of a socket, that takes a new instance: the later, the sooner after the time before it is shut down.
        """
        after, again = _REOPENED_AFTER_S, time.monotonic() - self._shut_at.get(name, float("-inf"))
        if address.path and again < _TOLD_EVERY_S:
            after = max(after, _TOLD_EVERY_S - again)
        asyncio.get_running_loop().call_later(after, self._listen_again, name, address)

    def _listen_again(self, name: str, address: Address) -> None:
        if address not in self.of(name):
            return
        if address.path and self._listeners.is_dead(address):
            self._give_up(address)
            self._tell_shut(name, f"opening {address} again")
        elif not address.path and self.second.listen_again(address):
            self._tell_shut(name, f"listening on {address} again")

    def _give_up(self, address: Address) -> None:
        """Close a socket that is dead: a new one takes its place, and an instance with that the one of those before."""
        for name in [name for name in self._at_spot[address.spot] if address in self.of(name)]:
            self._keeper.drop(name, address)
            self._closed(name, address)
            self._instances.wake(name)
        self._listeners.close(address)

    def _tell_shut(self, name: str, text: str) -> None:
        before, self._shut_at[name] = self._shut_at.get(name, float("-inf")), time.monotonic()
        if self._shut_at[name] - before >= _TOLD_EVERY_S:
            cause = "a process of the app had shut it down, for all others too"
            self._record(name, "listening", text, cause, Reason.NOT_LISTENING)

    def _closed(self, name: str, address: Address) -> None:
        self._open[name] = self.of(name) - {address}
        if all(other.spot != address.spot for other in self.of(name)):
            self._at_spot[address.spot].discard(name)

    def _sharing(self, name: str, address: Address) -> frozenset[str]:
        return frozenset(other for other in self.neighbours(name, address) if address in self.of(other))

    def _pass_between(self, app: str, addresses: tuple[Address, ...]) -> None:
        """Pass the clients of an app's other listeners on to the first of these, at which it is served now."""
        for address in addresses:
            self._listeners.stop_relay(address)
        for other in self.of(app).difference(addresses) if addresses else ():
            if bool(other.path) != bool(addresses[0].path) and not self._sharing(app, other):
                self._listeners.relay(other, addresses[0])

    def _passing(self, name: str, *, wanted: bool) -> frozenset[Address]:
        """Return the addresses that are passed on, without the app's own if that is `wanted`: no instance serves."""
        found = self._listeners.relayed(self.of(name))
        return found.difference(self._desired.get(name, ())) if found and wanted else found

    def _others_serve(self, name: str, address: Address) -> bool:
        if len(self._at_spot[address.spot]) < 2:  # nobody but this app
            return False
        return any(self._serves_at(other, address) for other in self._sharing(name, address))

    def _is_claimed(self, name: str, address: Address) -> bool:
        claims = ((n, a) for n in self._desired_at_spot[address.spot] if n != name for a in self._desired[n])
        return any(claim.overlaps(address) and self._serves_at(other, claim) for other, claim in claims)

    def _serves_at(self, name: str, address: Address) -> bool:
        return any(i.serves and address in i.addresses for i in self._instances.of(name))


def _newest(instances: tuple[Instance, ...]) -> Instance | None:
    return max((i for i in instances if i.serves and i.address), key=lambda i: i.started_at, default=None)
