"""Deliberate mistakes in deciding and retrying, each of which some test must catch: `python -m tests.tools.mutants`."""

import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TESTS = ("unit/planning", "unit/convergence", "simulation")


MOST_MEMORY = 1_500_000_000  # a mistake may make a story that never ends


@dataclass(frozen=True, slots=True)
class Mutant:
    """One text of one file put in the place of another."""

    mistake: str
    file: str
    right: str
    wrong: str


MUTANTS = (
    Mutant("the old one is stopped before its successor is ready", "planning/apps/plan.py",
           "ranked[:-1] if ranked and ranked[-1].ready else ranked", "ranked"),
    Mutant("all but the newest old generation stay", "planning/apps/plan.py",
           "crowd = ranked[:-1] if ranked and ranked[-1].ready else ranked", "crowd = []"),
    Mutant("of a crowd a dead weight stays instead of what serves", "planning/apps/plan.py",
           "key=lambda i: (i.serves, i.ready, i.started_at)", "key=lambda i: i.started_at"),
    Mutant("every restart is immediate", "planning/apps/failures.py", "    if count <= 1:\n", "    if count <= 1000:\n"),
    Mutant("a restart delay has no cap", "planning/apps/failures.py",
           "min(policy.cap_s, policy.first_s *", "max(0.0, policy.first_s *"),
    Mutant("apps that died together come back together", "planning/apps/failures.py",
           "doubled * (0.75 + 0.5 * noise)", "doubled * (0.75 + 0.0 * noise)"),
    Mutant("a delay ends and nobody looks", "planning/apps/plan.py", "times += [self._try_at(), self._fallback_at()]", "pass"),
    Mutant("an instance that is stopping is taken for the current one", "planning/apps/plan.py",
           "        and i.stopping_since is None\n", ""),
    Mutant("a stranded instance is taken for a sound one", "planning/apps/plan.py", "        and not i.stranded\n", ""),
    Mutant("an unwell instance is taken for a sound one", "planning/apps/failures.py",
           "    return instance.unwell is not None or (", "    return ("),
    Mutant("an instance that loses workers on probation is taken for a sound one", "planning/apps/failures.py",
           "(instance.fallen > 0 and not has_proven(instance.revision, observed))", "False"),
    Mutant("a proven revision that loses a worker is given up", "planning/apps/failures.py",
           "(instance.fallen > 0 and not has_proven(instance.revision, observed))", "instance.fallen > 0"),
    Mutant("what is ill serves beside what is well", "planning/apps/plan.py",
           "(not i.serves or (well and is_ill(i, self.observed)))", "not i.serves"),
    Mutant("what is ill is blamed again and again", "planning/apps/failures.py", "and not _is_blamed(i, observed)", ""),
    Mutant("a restart that was asked for is not done", "planning/apps/plan.py",
           "        and i.started_at >= observed.restart_before\n", ""),
    Mutant("an instance that is not ready is taken for one that serves", "planning/apps/plan.py",
           "        if self.current is not None and self.current.ready:\n            made",
           "        if self.current is not None:\n            made"),
    Mutant("old listeners stay open", "planning/apps/listening.py",
           "    extra = sorted(observed.listeners - {app.address}, key=str)", "    extra: list[Address] = []"),
    Mutant("a port that nothing listens on is kept while the app fails", "planning/apps/listening.py",
           "if u.address not in used", "if False"),
    Mutant("a port is closed under an instance", "planning/apps/listening.py", "if u.address not in used", "if True"),
    Mutant("old builds stay for ever", "planning/apps/plan.py",
           "            actions += self._discard()\n        elif", "            pass\n        elif"),
    Mutant("what was proven is discarded", "planning/apps/plan.py",
           "        needed |= {p.build.id for p in self.observed.proven}\n", ""),
    Mutant("an unreadable source is never read again", "planning/apps/plan.py",
           "(look.problem is None or now >= look.tried_at + _READ_AGAIN_S)", "look.problem is None"),
    Mutant("an unreadable source is read again and again", "planning/apps/plan.py",
           "look.stale and (look.problem is None or now >= look.tried_at + _READ_AGAIN_S)", "look.stale"),
    Mutant("a moved source is not read", "planning/apps/plan.py",
           "if look is None or look.source != app.source:", "if look is None:"),
    Mutant("the dead are not buried", "planning/apps/failures.py", "[i for i in observed.instances if i.end is not None]", "[]"),
    Mutant("what was told to stop is counted as dead", "planning/apps/failures.py",
           "    if gone.stopping_since is not None:\n        return None\n", ""),
    Mutant("deaths are never counted anew", "planning/apps/failures.py", "and served_s < app.crash.good_run_s else 0", "else 0"),
    Mutant("a death on probation is a mere crash", "planning/apps/failures.py",
           'kind="crashed" if proven else "bad"', 'kind="crashed"'),
    Mutant("a crash of what was proven makes it bad", "planning/apps/failures.py",
           'kind="crashed" if proven else "bad"', 'kind="bad"'),
    Mutant("a failed gate makes nothing bad", "planning/apps/plan.py",
           'kind: Literal["crashed", "bad"] = "crashed" if proven else "bad"', 'kind: Literal["crashed"] = "crashed"'),
    Mutant("failures are not counted", "planning/apps/plan.py", "kind=kind, count=count + 1", "kind=kind, count=1"),
    Mutant("a bad revision is tried before the one before it is back", "planning/apps/plan.py",
           "elif self._needs_fallback() and not self.observed.absent:", "elif False:"),
    Mutant("a proven revision that crashes is rolled back", "planning/apps/plan.py",
           ' and self.trouble.kind == "bad")\n\n    def _was_woken', ")\n\n    def _was_woken"),
    Mutant("a fallback that fails is started without a pause", "planning/apps/plan.py",
           "        if self._fallback_at() > self.now:\n            return False\n", ""),
    Mutant("a fallback listens where it did when it was proven", "planning/apps/plan.py",
           "    here = earlier if earlier.address == app.address else replace(earlier, address=app.address)\n",
           "    here = earlier\n"),
    Mutant("a bad revision is retried at once beside what serves", "planning/apps/plan.py",
           "count = trouble.count + (trouble.kind == \"bad\" and beside)", "count = trouble.count"),
    Mutant("a failed revision is retried before its time", "planning/apps/plan.py",
           "elif self.current is None and self._try_at() > self.now:", "elif False:"),
    Mutant("no revision is ever proven", "planning/apps/plan.py", "elif self.now >= self._proven_at(current):", "elif False:"),
    Mutant("a revision is proven before its probation is over", "planning/apps/plan.py",
           "elif self.now >= self._proven_at(current):", "else:"),
    Mutant("the end of a probation is not looked at", "planning/apps/plan.py",
           "                times.append(self._proven_at(self.current))\n", "                pass\n"),
    Mutant("a rollback by hand is not done", "planning/apps/plan.py",
           "_rolled_back(app, observed) or self.asked", "self.asked"),
    Mutant("a rollback by hand outlives a change of the source", "planning/apps/plan.py",
           " or pin.about != app.revision(observed.source.content).id", ""),
    Mutant("a stop by hand outlives a change of the manifest", "planning/apps/plan.py",
           " and observed.pin.about == app.fingerprint:", ":"),
    Mutant("the release command is not run", "planning/apps/plan.py",
           "if release is not None and release not in self.observed.released:", "if False:"),
    Mutant("the release command is run at every start", "planning/apps/plan.py",
           "if release is not None and release not in self.observed.released:", "if release is not None:"),
    Mutant("a failed release command of what sleeps is run without a pause", "planning/apps/plan.py",
           "(self._prepare() if due else ())", "self._prepare()"),
    Mutant("an idle app is never put to sleep", "planning/apps/plan.py", "        if idle_at <= self.now:\n", "        if False:\n"),
    Mutant("a busy app is put to sleep", "planning/apps/plan.py", "current.busy_at or -_NEVER, ", ""),
    Mutant("idleness is not waited for", "planning/apps/plan.py", "            times += [self._idle_at(self.current)]\n", ""),
    Mutant("a knock does not wake", "planning/apps/listening.py",
           "    if observed.rest.knocked_at is not None:\n        return False\n", ""),
    Mutant("what sleeps is started for no reason", "planning/apps/plan.py",
           "return gated in (None, self.target.id) or self._try_at() > self.now", "return False"),
    Mutant("what is new is not gated while it sleeps", "planning/apps/plan.py",
           "return gated in (None, self.target.id) or self._try_at() > self.now", "return True"),
    Mutant("what is lazy is gated before anybody knocks", "planning/apps/listening.py",
           "    return app.lazy and not observed.serves\n", "    return False\n"),
    Mutant("nobody waits for a knock", "planning/apps/listening.py",
           "*(() if app.address in observed.attended else (attend,))", ""),
    Mutant("nobody answers for an app that cannot", "planning/apps/listening.py",
           "return hold(app, observed) if now >= answer_at(app, observed) else ()", "return ()"),
    Mutant("clients have no patience", "planning/apps/listening.py", "+ app.patience_s", "+ 0.0"),
    Mutant("the end of patience is not looked at", "planning/apps/plan.py",
           "        times.append(answer_at(self.app, self.observed))\n", ""),
    Mutant("the daemon answers while an instance serves", "planning/apps/listening.py",
           '        return _step_aside(observed, "an instance serves")\n', "        return ()\n"),
    Mutant("what depends on another does not wait for it", "planning/apps/plan.py",
           "elif self.current is None and self.observed.absent and not self.observed.serves:", "elif False:"),
    Mutant("what others lean on is stopped before them", "planning/apps/plan.py",
           "if not observed.leaning or all(i.end is not None for i in observed.instances):", "if True:"),
    Mutant("maintenance does not wait for what leans on it", "planning/apps/plan.py",
           "    if waiting is not None:\n", "    if False:\n"),
    Mutant("maintenance closes the door", "planning/apps/plan.py",
           "actions: list[Action] = [*bury(None, observed, 0.0), *listen(app, observed)]",
           "actions: list[Action] = [*bury(None, observed, 0.0)]"),
    Mutant("a removed app leaves its traces", "planning/apps/plan.py", "    if actions or observed.traces:\n", "    if False:\n"),
    Mutant("a stopped app keeps its port", "planning/apps/plan.py",
           "        *(Unlisten(address=a, cause=cause) for a in sorted(observed.listeners, key=str)),\n", ""),
    Mutant("an edit does not interrupt an action", "convergence/converge.py",
           "given_up = now.first != action and doing.cancel()", "given_up = False"),
    Mutant("any ring of the bell interrupts an action", "convergence/converge.py",
           "given_up = now.first != action and doing.cancel()", "given_up = doing.cancel()"),
    Mutant("time alone interrupts nothing", "convergence/converge.py",
           "subject.rung(now.look_again_at)", "subject.rung(None)"),
    Mutant("what is to be done at once is not", "convergence/converge.py",
           "            await world.do(self.name, action)\n        return", "            pass\n        return"),
    Mutant("a removed app is reported for ever", "convergence/converge.py",
           "        if now.first is None and subject.asked() is None and not now.kept:\n            return now\n", ""),
    Mutant("what works without an effect is done without a pause", "convergence/converge.py", "if doing == done:", "if False:"),
    Mutant("a fallback that fails is said to have made no difference", "convergence/converge.py",
           "doing = (now.first, now.first.tries)", "doing = (now.first, 0)"),
    Mutant("a nap ends at any ring of the bell", "convergence/controller.py",
           "            if planned.first != failing.failure.action:\n                raise Overtaken\n"
           "            await",
           "            break\n            await"),
    Mutant("a nap cannot be ended", "convergence/controller.py",
           "            if planned.first != failing.failure.action:\n                raise Overtaken\n", ""),
    Mutant("nobody is attended to during a nap", "convergence/controller.py",
           "subject.rung(min(until, planned.look_again_at or until))", "subject.rung(until)"),
    Mutant("what came in between makes a failed action be tried at once", "convergence/controller.py",
           "if failing is None or failing.failure.action != action or self._world.now() >= failing.until:", "if True:"),
    Mutant("tries of different actions are counted as one", "convergence/controller.py",
           "again = before is not None and before.failure.action == failure.action", "again = before is not None"),
    Mutant("tries are not counted", "convergence/controller.py",
           "count = before.tries + 1 if before is not None and again else 1", "count = 1"),
    Mutant("back-off has no cap", "convergence/controller.py", "min(self.cap_s, self.first_s *", "max(0.0, self.first_s *"),
    Mutant("a lost event is lost", "convergence/controller.py",
           "seconds = self._resync_s * (0.75 + 0.5 * self._noise.random())", "seconds = 1e9"),
    Mutant("an edit wakes nobody", "convergence/controller.py", "before.get(name) != asked.get(name) or ", ""),
    Mutant("the task of a removed app never ends", "convergence/controller.py",
           "if self._asked_of(name) is None and not bell.is_set() and", "if False and"),
    Mutant("a mistake met by one app ends all", "convergence/controller.py",
           "                await self._survive(subject, mistake)\n",
           "                raise\n"),
    Mutant("a mistake is met again and again without a pause", "convergence/controller.py",
           "        await asyncio.sleep(self._backoff.first_s)\n"
           "        await self._rest(subject.bell, again_at, lambda: False)\n",
           ""),
    Mutant("a wake at rest changes nothing", "convergence/controller.py",
           "return subject.peek(self._world) is done and not done.at_once", "return True"),
    Mutant("what failed is tried once more without a pause", "convergence/controller.py",
           "            for failure in failures:\n                raise failure\n", ""),
    Mutant("a plan outlives the time it holds for", "planning/cache.py", "last.asked is asked and _is_before(now, last.plan)",
           "last.asked is asked"),
    Mutant("a plan outlives what was seen", "planning/cache.py", " and last.seen == seen:", ":"),
    Mutant("a plan outlives what was asked", "planning/cache.py", "last.asked is asked and ", ""),
)  # fmt: skip


def survives(mutant: Mutant) -> bool:
    """True when no test notices; one that never ends is noticed too."""
    with tempfile.TemporaryDirectory() as directory:
        tree = Path(directory)
        for part in ("reconciler", "tests"):
            shutil.copytree(ROOT / part, tree / part, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", tree)
        file = tree / "reconciler" / mutant.file
        text = file.read_text(encoding="utf-8")
        if text.count(mutant.right) != 1:
            raise SystemExit(f"{mutant.mistake}: {mutant.file} has {text.count(mutant.right)} times {mutant.right!r}")
        file.write_text(text.replace(mutant.right, mutant.wrong), encoding="utf-8")
        paths = [f"tests/{name}" for name in TESTS]
        command = [
            "prlimit",
            f"--as={MOST_MEMORY}",
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-x",
            "-p",
            "no:cacheprovider",
            *paths,
        ]
        environment = {**os.environ, "PYTHONPATH": str(tree), "RECONCILER_TESTS": "mutants"}
        try:
            ran = subprocess.run(command, cwd=tree, env=environment, capture_output=True, timeout=180, check=False)
        except subprocess.TimeoutExpired:
            return False
        return ran.returncode == 0


RIGHT = Mutant("", "planning/apps/plan.py", "def plan(app: App", "def plan(app: App")


def main() -> int:
    """Try the mutants whose mistake contains a word of the command line; all without one."""
    words = sys.argv[1:] or [""]
    tried = [m for m in MUTANTS if any(word in m.mistake for word in words)]
    if not survives(RIGHT):
        raise SystemExit("the tests fail without any mistake")
    missed = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for mutant, alive in zip(tried, pool.map(survives, tried), strict=True):
            missed += [mutant.mistake] * alive
            print("NOT CAUGHT" if alive else "caught", mutant.mistake, sep="  ", flush=True)
    print(f"{len(tried) - len(missed)} of {len(tried)} caught", *missed, sep="\nNOT CAUGHT  ")
    return min(len(missed), 1)


if __name__ == "__main__":
    raise SystemExit(main())
