"""A random history: daemons come and go while manifests, sources and processes do what they like; then peace."""

import asyncio
import random
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from reconciler.convergence.backoff import Backoff
from reconciler.convergence.controller import Controller
from reconciler.convergence.standing_tasks import StandingTasks
from reconciler.convergence.wake_queue import WakeQueue
from reconciler.planning.address import Address
from reconciler.planning.apps.app import App, CrashPolicy
from reconciler.planning.apps.observed import Observed
from reconciler.planning.apps.revision import Recipe, Server, Source
from tests.simulation.clock import run
from tests.simulation.hostile import BACKOFF_S, Daemon, Forbidden, Killed, Machine
from tests.world import is_asleep, is_served, listeners_of, wanted_of

RESYNC_S = 60.0
CAP_S = 30.0
# A lost event waits for the resync, a failed action or crash for its cap, a hanging start for its timeout.
IDLE_S = 120.0
PROBATION_S = 10.0
# Whoever depends on another that depends on a third waits for both.
PEACE_S = 2 * (RESYNC_S * 1.25 + 2 * CAP_S * 1.25 + 20 + 60) + IDLE_S + PROBATION_S
# Reading 1, staging 25, releasing 5, seeing off a half-started instance 12, coming through the gate 3, and a little.
LONGEST_DEPLOY_S = 47.0
# A client's patience, and what the loop and the reading of a source may add to it.
PATIENCE_S = 5.0 + 1.0


@dataclass(slots=True, kw_only=True)
class Era:
    """One daemon at work, from its start to its death."""

    daemon: Daemon
    controller: Controller
    task: "asyncio.Task[None]"
    since: float


@dataclass(slots=True)
class History:
    """One machine's life from a seed. What goes wrong in it is raised with its whole story."""

    seed: int
    cap_s: float = CAP_S
    chance: random.Random = field(init=False)
    machine: Machine = field(init=False)
    era: Era | None = None
    failures: list[BaseException] = field(default_factory=list)
    # Looks on after every deed, and raises Forbidden for what it does not like.
    witness: Callable[["History"], None] = lambda _history: None

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.machine = Machine(chance=self.chance, trouble=self.chance.choice((0.02, 0.1, 0.3)))

    # Daemons

    async def start(self) -> None:
        """A daemon starts, takes back what runs, and asks for what the manifests say."""
        daemon = Daemon(machine=self.machine)
        left = daemon.begin()
        ready: asyncio.Future[Controller] = asyncio.get_running_loop().create_future()
        wakeups = WakeQueue()
        task = asyncio.get_running_loop().create_task(self._keep(daemon, wakeups, ready))
        controller = await ready
        now = asyncio.get_running_loop().time()
        self.era = Era(daemon=daemon, controller=controller, task=task, since=now)
        self.machine.wake = lambda name: None if daemon.dead else wakeups.wake(name)
        self.machine.tell("", "the daemon starts")
        daemon.follow(self.machine.asked)
        controller.replace(self.machine.asked, also=left)

    async def _keep(self, daemon: Daemon, wakeups: WakeQueue, ready: "asyncio.Future[Controller]") -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                backoff, noise = Backoff(first_s=BACKOFF_S, cap_s=self.cap_s), random.Random(self.seed)
                standing = StandingTasks(tasks, backoff=backoff, noise=noise)
                ready.set_result(Controller(daemon, wakeups, standing, backoff=backoff, resync_s=RESYNC_S, noise=noise))
                await asyncio.Event().wait()
        except BaseExceptionGroup as group:
            mistakes = group.split(Killed)[1]
            if mistakes is not None:
                self.failures.append(mistakes)
        except Killed:
            pass

    async def kill(self) -> None:
        """kill -9: from one instruction to the next nothing is done any more."""
        if self.era is not None:
            self.era.daemon.dead = True
            self.era.task.cancel()
            await asyncio.wait([self.era.task])
            self.machine.tell("", "the daemon is dead")
        self.era = None
        self.machine.wake = lambda _name: None

    # What people and the machine do

    async def something(self) -> None:
        deeds: Mapping[Callable[[], object], int] = {
            self._edit: 8,
            self._remove: 2,
            self._change_source: 5,
            self._crash: 6,
            self._ring: 3,
            self._die_soon: 2,
            self._restart: 2,
            self._reboot: 1,
            self._crash_a_lot: 1,
            self._knock: 6,
            self._ail: 2,
            self._fell: 2,
            self._wish: 4,
            self._doze: 2,
        }
        deed = self.chance.choices(list(deeds), list(deeds.values()))[0]
        done = deed()
        if asyncio.iscoroutine(done):
            await done
        if self.era is None or self.era.daemon.dead:
            await self.kill()
            await self.start()

    def _edit(self) -> None:
        """A manifest is written: a new app, a field of an old one, or an app that comes back."""
        chance, name = self.chance, self.chance.choice(NAMES)
        before = self.machine.asked.get(name) or app_of(name)
        edits: list[App] = [
            replace(before, server=replace(before.server, workers=chance.randint(1, 4))),
            replace(before, env={"LEVEL": chance.choice("abc")}),
            replace(before, release=chance.choice((None, "migrate"))),
            replace(before, recipe=Recipe(runtime=chance.choice(("3.11", "3.12")))),
            replace(
                before,
                beside=None,
                address=_port(name, chance.randint(0, 2)),
            ),
            _at_a_socket(before, chance.choice((None, *range(3)))),
            replace(before, state=chance.choice(("running", "running", "stopped", "maintenance"))),
            replace(before, lazy=chance.random() < 0.5),
            napping(before, chance.choice((None, IDLE_S))),
            replace(before, depends_on=tuple(n for n in NAMES[NAMES.index(name) + 1 :] if chance.random() < 0.4)),
            replace(before, source=Source(path=f"/apps/{name}{chance.choice(('', '-next'))}")),
            replace(before, source=replace(before.source, pinned=chance.choice(("", "d1", "d2")))),
        ]
        edited = chance.choice([before, *edits])
        self.machine.contents.setdefault(edited.source.path, "c0")
        self._ask(name, edited)

    def _of_some_kind(self, app: App) -> App:
        kind = self.chance.random()
        if kind < 0.3:
            return napping(app, IDLE_S)
        if kind < 0.5:
            return replace(app, lazy=True)
        return replace(app, release="migrate" if kind < 0.7 else None)

    def _remove(self) -> None:
        if self.machine.asked:
            self._ask(self.chance.choice(sorted(self.machine.asked)), None)

    def _ask(self, name: str, app: App | None) -> None:
        asked = {n: a for n, a in self.machine.asked.items() if n != name}
        self.machine.asked = asked if app is None else {**asked, name: app}
        self.machine.clients.pop(name, None)  # they may have come while nobody was to answer
        if app is None:
            self.machine.tell(name, "is removed")
        else:
            where = [*map(str, app.addresses)]
            it = (app.server.workers, dict(app.env), app.recipe.runtime, where, app.state, app.source)
            how = (app.release, app.lazy, app.idle_after_s, app.depends_on)
            self.machine.tell(name, f"is asked for: {it}, {how}")
        self.machine.events[name] = self.machine.events.get(name, 0) + 1
        if self.era is not None and not self.era.daemon.dead:
            self.era.daemon.follow(self.machine.asked)
            self.era.controller.replace(self.machine.asked)

    def _change_source(self) -> None:
        if self.machine.contents:
            path = self.chance.choice(sorted(self.machine.contents))
            content = f"c{self.chance.randint(0, 5)}"
            breaks = self.chance.random()
            broken = self._ways_to_break()
            if breaks < 0.3:
                self.chance.choice(broken).add(content)
            elif breaks < 0.6:
                for way in broken:
                    way.discard(content)
            unreadable = self.chance.random() < 0.1
            self.machine.source_changes(path, None if unreadable else content, lost=self.chance.random() < 0.1)

    def _ways_to_break(self) -> tuple[set[str], ...]:
        machine = self.machine
        return machine.unstageable, machine.unstartable, machine.unreleasable, machine.shortlived

    def _knock(self) -> None:
        for name in NAMES:
            if self.chance.random() < 0.5:
                self.machine.knock(name)

    async def _doze(self) -> None:
        """Nothing happens for long enough to fall asleep."""
        await asyncio.sleep(self.chance.uniform(0.5, 1.5) * IDLE_S)

    def _ail(self) -> None:
        self.machine.ails(self.chance.choice(NAMES), well=self.chance.random() < 0.3)

    def _fell(self) -> None:
        self.machine.loses_a_worker(self.chance.choice(NAMES))

    def _wish(self) -> None:
        name = self.chance.choice(NAMES)
        app = self.machine.asked.get(name)
        if app is not None:
            self.machine.wish(name, self.chance.choice(WISHES), app)

    def _crash(self) -> None:
        self.machine.crash(self.chance.choice(NAMES))

    async def _crash_a_lot(self) -> None:
        name = self.chance.choice(NAMES)
        for _ in range(self.chance.randint(3, 8)):
            self.machine.crash(name)
            await asyncio.sleep(self.chance.uniform(0, 4))

    def _ring(self) -> None:
        for name in NAMES:
            self.machine.wake(name)

    def _die_soon(self) -> None:
        if self.era is not None:
            self.era.daemon.dies_in = self.chance.randint(0, 30)

    async def _restart(self) -> None:
        await self.kill()
        await asyncio.sleep(self.chance.uniform(0, 10))

    async def _reboot(self) -> None:
        await self.kill()
        self.machine.tell("", "the host reboots")
        self.machine.reboot()

    # The whole of it

    async def _live(self, deeds: int) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: self._mistaken(context))
        for name in NAMES[: self.chance.randint(1, len(NAMES))]:
            self.machine.asked[name] = self._of_some_kind(app_of(name))
            self.machine.contents[f"/apps/{name}"] = "c0"
        await self.start()
        pace_s = self.chance.choice((0.3, 3.0, 15.0))
        for _ in range(deeds):
            await asyncio.sleep(self.chance.expovariate(1 / pace_s))
            await self.something()
            self._judge()
        await self._peace()

    async def _peace(self) -> None:
        """Nothing fails any more: in a while all is as asked, and then nothing is done at all."""
        machine = self.machine
        machine.tell("", "peace")
        machine.trouble = 0.0
        for way in self._ways_to_break():
            way.clear()
        if self.era is None or self.era.daemon.dead or self.era.daemon.dies_in is not None:
            await self.kill()
            await self.start()
        for path, content in list(machine.contents.items()):
            machine.source_changes(path, content or "c0")
        await asyncio.sleep(60)  # what was started before may still die
        for name, app in machine.asked.items():
            machine.wish(name, "forget-failure", app)  # what failed its clients, or half a release, waits for that
        await asyncio.sleep(PEACE_S)
        self._judge()
        for name in NAMES:
            self._judge_end(name)
        await self._judge_stillness()
        await self._judge_wakes()

    async def _judge_stillness(self) -> None:
        before = self.machine.actions
        for _ in range(3):
            self._ring()
            await asyncio.sleep(RESYNC_S)
        self._judge()
        if self.machine.actions != before:
            raise Forbidden("all was as asked, and still something was done")

    async def _judge_wakes(self) -> None:
        """Whoever knocks at what sleeps is served in the time that a start takes."""
        for name in NAMES:
            self.machine.knock(name)
        await asyncio.sleep(len(NAMES) * 4)
        self._judge()
        for name, app in self.machine.asked.items():
            sleeps = app.state == "running" and self.machine.of(name).armed and not self.machine.of(name).serves
            if sleeps or (name in self.machine.clients and not self._waits_for_others(name)):
                raise Forbidden(f"somebody knocked at {name}, and it does not serve: {self.machine.of(name)}")

    def _mistaken(self, context: dict[str, Any]) -> None:
        """The controller survived a mistake, or something was never awaited: no history may contain that."""
        error = context.get("exception") or RuntimeError(context["message"])
        if not isinstance(error, Killed):  # the daemon died while it looked, outside of every task
            self.failures.append(error)

    def _judge(self) -> None:
        for crime in (*self.machine.crimes, *self.failures):
            raise crime
        self.witness(self)
        self._judge_answers()

    def _judge_answers(self) -> None:
        """Nobody waits for longer than their patience while there is a daemon that could answer."""
        now = asyncio.get_running_loop().time()
        for name, since in self.machine.clients.items():
            app = self.machine.asked.get(name)
            if self.era is None or app is None or _held_as(app, self.machine.of(name)) == "stopped":
                continue
            if any(i.end is not None for i in self.machine.of(name).instances):
                continue  # the news of its death was lost
            knocked_at = self.machine.of(name).sleep_state.activated_at
            if (
                self.machine.of(name).listeners.intersection(app.addresses)
                and now - max(since, self.era.since, knocked_at or 0) > PATIENCE_S
            ):
                raise Forbidden(f"somebody waits for {name} since {since:.3f}: {self.machine.of(name)}")

    def _waits_for_others(self, name: str) -> bool:
        app, things = self.machine.asked[name], self.machine.of
        return any(not (things(n).serves or things(n).armed) for n in app.depends_on)

    def _judge_end(self, name: str) -> None:
        app, observed = self.machine.asked.get(name), self.machine.of(name)
        if app is None:
            if observed != Observed(source_generation=observed.source_generation):
                raise Forbidden(f"{name} was removed and left {observed}")
        elif _held_as(app, observed) == "stopped":
            if observed.instances or observed.listeners:
                raise Forbidden(f"{name} was stopped and left {observed}")
        elif _held_as(app, observed) == "maintenance":
            if observed.instances or observed.listeners != observed.holding or observed.holding != listeners_of(app):
                raise Forbidden(f"{name} is to be held and is {observed}")
        elif not self._is_as_asked(app, observed):
            raise Forbidden(f"{name} is not as asked: {app}, but {observed}")

    def _is_as_asked(self, app: App, observed: Observed) -> bool:
        wanted, newest = wanted_of(app, observed), self.machine.contents[app.source.path]
        if wanted is None or observed.source is None:
            return False
        if not app.source.pinned and observed.source.content != newest:
            return False
        if self._waits_for_others(app.name) and not observed.instances:
            return wanted.build.id in observed.builds and observed.listeners == listeners_of(app)
        if is_served(app, "", observed, wanted):
            return observed.known_good[0].id == wanted.id and app.idle_after_s is None
        asleep = app.lazy or app.idle_after_s is not None
        gated = observed.sleep_state.gate_passed == wanted.id or (app.lazy and observed.sleep_state.gate_passed is None)
        return asleep and gated and is_asleep(app, wanted, observed)

    async def _mend(self, breaks: Callable[[Machine], set[str]]) -> None:
        """A broken revision is retried ever more rarely; once it is fixed it serves as soon as the work takes."""
        machine, name = self.machine, NAMES[0]
        machine.trouble, machine.asked, path = 0.0, {name: app_of(name)}, f"/apps/{name}"
        machine.contents[path] = "c0"
        if self.chance.random() < 0.5:
            await self.start()
            await asyncio.sleep(60)
        else:
            await self.start()
        breaks(machine).add("c1")
        machine.source_changes(path, "c1")
        await asyncio.sleep(self.chance.uniform(0, 5000))
        machine.source_changes(path, "c2")
        await asyncio.sleep(LONGEST_DEPLOY_S)
        self._judge()
        wanted = app_of(name).revision("c2").id
        if wanted not in {i.revision for i in machine.of(name).instances if i.serves}:
            raise Forbidden("the fix does not serve yet")

    def check_fix(self, breaks: Callable[[Machine], set[str]]) -> None:
        """Break an app for a while, fix it; raises Forbidden when the fix has to wait."""
        self._tell(self._mend(breaks))

    def check(self, deeds: int) -> int:
        """Live through it; returns the number of actions; raises Forbidden with the seed and the story."""
        self._tell(self._live(deeds))
        return self.machine.actions

    def _tell(self, story: Coroutine[Any, Any, None]) -> None:
        try:
            run(story)
        except BaseException as error:  # noqa: BLE001  whatever ended it is shown with the story
            lately = "\n".join(self.machine.story[-80:])
            what = _innermost(error)
            raise Forbidden(f"history {self.seed}: {what!r}\n{lately}") from what


def _innermost(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


NAMES = ("blog", "shop", "wiki")


WISHES = ("stop", "maintenance", "start", "start", "restart", "forget-failure", "rollback")


def _held_as(app: App, observed: Observed) -> str:
    """The state that the app is to be in, by its manifest or an operator."""
    override = observed.override
    if override is not None and override.kind != "rolled back" and override.holds_for == app.fingerprint:
        return override.kind
    return app.state


def napping(app: App, idle_after_s: float | None) -> App:
    """The app with another idea of when to sleep, which its workers have to know of."""
    return replace(app, idle_after_s=idle_after_s, server=replace(app.server, counts=idle_after_s is not None))


def _port(name: str, number: int) -> Address:
    return Address(host="127.0.0.1", port=8000 + 10 * NAMES.index(name) + number)


def _at_a_socket(app: App, number: int | None) -> App:
    """The app at a socket, and at a port beside it if that has a number."""
    beside = None if number is None else _port(app.name, number)
    return replace(app, address=Address(host=f"/s/listeners/{app.name}.sock"), beside=beside)


def app_of(name: str) -> App:
    """The app as its manifest first asks for it."""
    return App(
        name=name,
        manifest=f"{name}.yaml",
        source=Source(path=f"/apps/{name}"),
        address=_port(name, 0),
        server=Server(start_timeout_s=20.0, stop_timeout_s=10.0),
        probation_s=PROBATION_S,
        crash=CrashPolicy(first_s=1.0, cap_s=CAP_S, good_run_s=60.0),
    )
